"""Text on one line, for formats in which a line is an entry."""


def one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines()).strip()
