"""The house has floors: a module imports only from lower layers or from its own folder.

The floors are kept true by reading the imports, wherever in a module they stand.
"""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "speechx"

FLOORS = (
    {"config", "errors", "log", "text_encoding", "text_table", "whole_file", "wording"},
    {"audio", "text"},
    {"data", "models"},
    {"corpora", "decoding"},
    {"objectives"},
    {"training"},
    {"interchange"},
    {"transcription", "doctor", "diagnostics"},
    set(),  # every other file beside the folders: one per thing a user does
    {"cli"},
)
FLOOR = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
FOLDERS = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
ENTRANCES = {"__init__", "__main__"}  # the package's doors, above every layer


def module_name(path):
    """speechx/audio/files.py is speechx.audio.files; a folder's __init__ is the folder."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 2 else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(path):
    """All names that a module imports, in full; `from a import b` gives both a.b and a."""
    module = module_name(path).split(".")
    package = module if path.name == "__init__.py" and len(module) > 1 else module[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


def own_imports(path):
    """The modules of speechx that a module imports."""
    return {name for name in imports(path) if name in MODULES} - {module_name(path)}


def part_of(module):
    return module.split(".")[1]


def allowed(importer, imported):
    above, below = part_of(importer), part_of(imported)
    if above in ENTRANCES:
        return True
    if below in ENTRANCES:
        return False
    if above == below:
        return True
    same_floor = floor(above) == floor(below)
    return floor(below) < floor(above) or (same_floor and not {above, below} & FOLDERS)


def floor(part):
    return FLOOR.get(part, FLOOR["cli"] - 1)


def test_every_folder_has_a_floor():
    assert set(FLOOR) >= FOLDERS, "a new folder needs a place in FLOORS"


def test_imports_point_downwards():
    upwards = [
        f"{importer} imports {imported}"
        for importer, path in MODULES.items()
        for imported in sorted(own_imports(path))
        if not allowed(importer, imported)
    ]
    assert upwards == []


def test_the_rule_itself():
    assert allowed("speechx.data.manifest", "speechx.audio.files")
    assert allowed("speechx.data.batches", "speechx.data.sampling")
    assert allowed("speechx.evaluation", "speechx.transcription.recognizer")
    assert allowed("speechx.pretraining", "speechx.interchange.conversion")
    assert not allowed("speechx.interchange.conversion", "speechx.pretraining")
    assert not allowed("speechx.audio.files", "speechx.data.manifest")
    assert not allowed("speechx.audio.files", "speechx.text.ipa")
    assert not allowed("speechx.models.encoder", "speechx.data.batches")
    assert not allowed("speechx.decoding.scoring", "speechx.cli")
    assert not allowed("speechx.training.loop", "speechx.pretraining")
    assert not allowed("speechx.pretraining", "speechx.cli")


def test_no_import_cycles():
    edges = {module: own_imports(path) for module, path in MODULES.items()}
    graphlib.TopologicalSorter(edges).prepare()  # raises CycleError, which names the cycle


def test_only_training_knows_torch_distributed():
    def mentions(path):
        names = set(imports(path))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                names.add(f"{node.value.id}.{node.attr}")
        return any(f"{name}.".startswith("torch.distributed.") for name in names)

    knowing = {part_of(module) for module, path in MODULES.items() if mentions(path)}
    assert knowing <= {"training"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("-c", "import speechx"),
        ("-m", "speechx", "--help"),
    ],
    ids=["import speechx", "speechx --help"],
)
def test_the_door_opens_without_torch(arguments):
    result = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    imported = {line.rsplit("|", 1)[-1].strip() for line in result.stderr.splitlines()}
    assert "speechx" in imported
    assert "torch" not in imported
