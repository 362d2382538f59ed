"""The wheel holds what an installed speechx needs, and nothing else."""

import ast
import re
import subprocess
import sys
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*arguments, **options):
    result = subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    (built,) = out.glob("speechx-*-py3-none-any.whl")
    return built


def test_wheel_holds_the_package_and_its_data(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "speechx").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    inside = {name for name in names if name.startswith("speechx/")}
    assert inside == sources
    assert "speechx/text/inventories.json" in inside
    assert any(name.startswith("speechx/text/sentences/") for name in inside)
    others = {name.split("/")[0] for name in names - inside}
    assert len(others) == 1
    assert others.pop().endswith(".dist-info")


def test_wheel_names_its_command_its_licence_and_its_needs(wheel):
    archive = zipfile.ZipFile(wheel)
    texts = {name.split("/", 1)[1]: name for name in archive.namelist() if ".dist-info/" in name}

    def read(name):
        return archive.read(texts[name]).decode("utf-8")

    assert "speechx = speechx.cli.main:main" in read("entry_points.txt")
    assert "Apache License" in read("licenses/LICENSE")
    metadata = read("METADATA")
    assert "Requires-Python: <3.13,>=3.10" in metadata
    assert "Requires-Dist: torch<2.12,>=2.9" in metadata
    for extra in ("g2p", "lm", "pyctcdecode", "audio", "figures", "fairseq2", "hf", "all", "dev"):
        assert f"Provides-Extra: {extra}" in metadata


def test_wheel_works_where_it_is_installed(wheel, tmp_path):
    target = tmp_path / "site"
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    environment = {"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"}
    where = run("-c", "import speechx; print(speechx.__file__)", cwd=tmp_path, env=environment)
    assert Path(where.strip()) == target / "speechx" / "__init__.py"
    usage = run("-m", "speechx", "--help", cwd=tmp_path, env=environment)
    for verb in ("data", "pretrain", "finetune", "transcribe", "phonemize", "evaluate", "report"):
        assert verb in usage


def third_party(nodes):
    """Distributions that these statements import, by their names in lower case with hyphens."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    names -= {"speechx", *sys.stdlib_module_names}
    homes = packages_distributions()
    return {re.sub(r"[-_.]+", "-", homes.get(name, [name])[0]).lower() for name in names}


def test_what_is_imported_is_asked_for(wheel):
    """What a module imports at its head is a dependency, anything else at least an extra."""
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("METADATA"))
    needs = re.findall(r"^Requires-Dist: ([\w-]+)(.*)$", archive.read(metadata).decode(), re.M)
    always = {name.lower() for name, rest in needs if "extra ==" not in rest}
    trees = [ast.parse(path.read_text("utf-8")) for path in (ROOT / "speechx").rglob("*.py")]
    assert third_party(node for tree in trees for node in tree.body) <= always
    anywhere = third_party(node for tree in trees for node in ast.walk(tree))
    assert anywhere <= {name.lower() for name, _ in needs}


@pytest.mark.interop
def test_the_toolkits_live_in_one_environment():
    """soundfile first: fairseq2 uses the libsndfile that it has loaded, or one of the system."""
    run("-c", "import torch, torchaudio, soundfile, librosa, fairseq2, numpy, pyctcdecode, jiwer")
