def write_exclusions(path, exclusions):
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("corpus\tlanguage\tid\treason\tdetail\n")
        for e in exclusions:
            cells = (e.corpus, e.language, e.id, e.reason, e.detail)
            file.write("\t".join(" ".join(c.split()) for c in cells) + "\n")
