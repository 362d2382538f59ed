"""Debian packages without root: fetched, unpacked into a folder, their licences listed.

`apt-get download` checks the archive's signatures, so nothing here has to. A package lies in
`FOLDER/<name>_<version>_<arch>/` and is then not fetched again; without apt, unpack packages there
by hand (`dpkg-deb -x`, or `ar x` and `tar xf`).
"""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from speechx.errors import UserError
from speechx.log import logger


def unpacked(folder: Path) -> dict[str, Path]:
    """The folders of the packages that lie in `folder`, each with usr/share; of several versions
    the one that sorts last."""
    roots = sorted(folder.glob("*_*"))
    return {root.name.split("_")[0]: root for root in roots if (root / "usr").is_dir()}


def fetch(names: Iterable[str], folder: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Fetches packages into `folder`; returns those that are there now, and errors of the others.

    Raises UserError when something must be fetched and this machine has no apt-get or dpkg-deb.
    """
    folder = folder.resolve()
    have = unpacked(folder)
    wanted = list(dict.fromkeys(names))
    missing = [name for name in wanted if name not in have]
    lacking = [tool for tool in ("apt-get", "dpkg-deb") if shutil.which(tool) is None]
    if missing and lacking:
        raise UserError(
            f"{' and '.join(lacking)} not found: this command needs a Debian or Ubuntu machine, or "
            f"these packages unpacked as {folder}/<name>_<version>/usr: {', '.join(missing)}"
        )
    failed = {}
    for k, name in enumerate(missing, 1):
        logger.info(f"fetching {name} ({k} of {len(missing)})")
        try:
            _download(name, folder)
        except UserError as error:
            failed[name] = str(error)
            logger.info(f"  not fetched: {error}")
    have = unpacked(folder)
    return {name: have[name] for name in wanted if name in have}, failed


def _download(name: str, folder: Path) -> None:
    """Fetch and unpack one package, all or nothing."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as scratch:
        _run(["apt-get", "-q", "download", name], scratch)
        debs = list(Path(scratch).glob(f"{name}_*.deb"))
        if not debs:
            raise UserError("apt-get download wrote no .deb file")
        _run(["dpkg-deb", "-x", debs[0].name, "unpacked"], scratch)
        os.replace(Path(scratch, "unpacked"), folder / debs[0].stem)


def _run(command: list[str], folder: str) -> None:
    """Run a tool; its error becomes one line with what helps."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},  # the messages below are the English ones
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    if done.returncode == 0:
        return
    errors = [line[2:].strip() for line in done.stderr.splitlines() if line.startswith("E:")]
    why = "; ".join(errors) or done.stderr.strip().replace("\n", "; ")
    why = why or f"{command[0]} exit code {done.returncode}"
    if re.search("Unable to locate|no candidate|404|no installation candidate", why):
        why += " (run apt-get update first; on Ubuntu these packages are in 'universe')"
    raise UserError(why)


def write_licences(packages: Mapping[str, Path], out: Path) -> None:
    """Copy each package's copyright file to out/licences/ and list them in out/LICENCES.md."""
    rows = []
    for name, root in sorted(packages.items()):
        source = root / "usr/share/doc" / name / "copyright"
        version = root.name.split("_")[1].replace("%3a", ":")
        where, summary = "not in the package", "unknown"
        if source.is_file():
            text = source.read_text(encoding="utf-8", errors="replace")
            where, summary = f"licences/{name}.txt", licence_summary(text)
            (out / "licences").mkdir(parents=True, exist_ok=True)
            (out / where).write_text(text, encoding="utf-8")
        rows.append(f"| {name} | {version} | {summary} | {where} |\n")
    (out / "LICENCES.md").write_text(
        "# Licences of the recordings\n\n"
        "The audio and texts in this folder come from these Debian packages and stay under their\n"
        "licences. An utterance's id begins with the name of its package. Each licence is named\n"
        "for the files of the upstream source it covers; the text beside it is what counts.\n\n"
        "| package | version | licence | text |\n| --- | --- | --- | --- |\n" + "".join(rows),
        encoding="utf-8",
    )


def licence_summary(copyright_text: str) -> str:
    """One line for a debian/copyright file: licence names with the files they cover.

    Packaging (`debian/*`) is left out. Files older than the machine-readable format only have a
    reference to /usr/share/common-licenses.
    """
    covered: dict[str, list[str]] = {}
    for paragraph in re.split(r"\n\s*\n", copyright_text):
        files = re.search(r"^Files:\s*(.+)$", paragraph, re.MULTILINE)
        licence = re.search(r"^License:\s*(.+)$", paragraph, re.MULTILINE)
        if files and licence and not files[1].startswith("debian/"):
            covered.setdefault(licence[1].strip(), []).append(f"`{files[1].strip()}`")
    if covered:
        return "; ".join(f"{name} ({', '.join(files)})" for name, files in covered.items())
    common = re.findall(r"/usr/share/common-licenses/([\w.+-]*\w)", copyright_text)
    return ", ".join(dict.fromkeys(common)) or "see the text"
