"""README and docs tell the truth: their commands, Python and YAML are run here, page by page.

Every ```sh and ```python block is one test, found in the text: a new one is run without a change
here. Blocks of other languages, or of none, are for reading. Each page has a folder of its own, as
a reader has it who has run the quickstart: `runs/tiny` as the tiny recipe left it, `recipes/`, a
CommonVoice release, a BABEL pack, a table, a Hugging Face model, and a package archive behind a
fake apt-get. A block whose first line is a comment with the name of a file is that file.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest

from speechx.cli.main import main, parser
from tests.babel_packs import make_conversations
from tests.conftest import SMALL_QUANTIZER, small_convolutional
from tests.recipe_run import ROOT, SENTENCES, RecipeRun, environment, make_release, write_murmur

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]  # whose blocks are run
LINKED = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "recipes/README.md"]
LINKED += [*sorted(ROOT.glob("recipes/*/README.md")), ROOT / "data_manifests/README.md"]
SHELL_WORK = re.compile(r"[|&;<>$`*?~{}]")  # what needs a real shell
FILE = re.compile(r"`((?:[\w.-]+/)+[a-z_][\w.-]*\.(?:sh|py)|[\w./-]*[a-z]\.(?:md|txt))`")
NAMED = re.compile(r"# ([\w./-]+\.(?:yaml|py))\n")


@dataclass(frozen=True)
class Block:
    page: Path
    language: str
    text: str
    line: int

    def commands(self) -> list[str]:
        """Logical lines, without comments."""
        joined = self.text.replace("\\\n", " ").splitlines()
        return [line for line in joined if shlex.split(line, comments=True)]

    @property
    def file(self) -> str | None:
        """The file that this block is."""
        named = NAMED.match(self.text)
        return named[1] if named else None


def blocks(*languages: str, pages: list[Path] = PAGES) -> list[Block]:
    found = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for m in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            if m[1] in languages:
                found.append(Block(page, m[1], m[2], text.count("\n", 0, m.start()) + 2))
    return found


def name_of(value: Any) -> str:
    if isinstance(value, Block):
        return f"{value.page.stem}-{value.language}-line-{value.line}"
    return str(value.relative_to(ROOT))


@pytest.fixture(scope="module")
def quickstart(
    recipe_runs: dict[str, RecipeRun], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The folder of a reader who has run the quickstart."""
    from tests.corpora.test_debian_speech import SENTENCES as PROMPTS
    from tests.corpora.test_debian_speech import Archive, italian

    readers = tmp_path_factory.mktemp("readers")
    folder = readers / "start"
    folder.mkdir()
    (folder / "recipes").symlink_to(ROOT / "recipes")
    make_release(folder / "cv-corpus-22.0")
    make_conversations(folder / "IARPA_BABEL_BP_101", "101", SENTENCES["it"])
    lines = ["path\ttext"]
    for index, text in enumerate(SENTENCES["it"]):
        write_murmur(folder / f"recordings/{index}.wav", index)
        lines.append(f"recordings/{index}.wav\t{text}")
    (folder / "utterances.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        tools = readers / "apt"
        tools.mkdir()
        italian(Archive(tools, patch), PROMPTS)
        shutil.copytree(recipe_runs["tiny"].finish().out, folder / "runs/tiny")
        speak(folder / "runs/tiny/seen/best")
        download(folder / "wav2vec2-xls-r")
        yield folder


@pytest.fixture
def enter(quickstart: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Goes to the folder of a page, with the files that the page has."""

    def go(page: Path) -> None:
        folder = quickstart.with_name(page.stem)
        if not folder.exists():
            shutil.copytree(quickstart, folder, symlinks=True)
        for block in blocks("yaml", "python", pages=[page]):
            if block.file:
                file = folder / block.file
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block.text, encoding="utf-8")
                if block.file.startswith("speechx/objectives/"):
                    add_objective(file, monkeypatch)
        monkeypatch.chdir(folder)

    return go


def add_objective(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in objectives/, and its line in the union."""
    from speechx import objectives
    from speechx.objectives.objective import ObjectiveConfig

    name = f"speechx.objectives.{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    union = objectives.AnyObjective
    for value in vars(module).values():
        if isinstance(value, type) and value.__module__ == name:
            union = union | value if issubclass(value, ObjectiveConfig) else union
    assert union != objectives.AnyObjective
    monkeypatch.setattr(objectives, "AnyObjective", union)


def download(model: Path) -> None:
    """A folder as users have it from Hugging Face, of a small model."""
    import torch

    from speechx.interchange.conversion import convert
    from speechx.models.quantizer import QuantizerConfig
    from speechx.objectives.model import SpeechModel
    from speechx.objectives.wav2vec2 import Wav2Vec2Config

    torch.manual_seed(0)
    objective = Wav2Vec2Config(quantizer=QuantizerConfig(**SMALL_QUANTIZER))
    ours = model.with_name("small")
    SpeechModel(small_convolutional("layer"), {"wav2vec2": objective}, {}).save(ours, ["xx"])
    convert(ours, model, "hugging_face")


def speak(model: Path) -> None:
    """Six updates teach a model nothing but the blank; without its blank it writes phones."""
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    weights["objectives.ctc.head.weight"] *= 30
    weights["objectives.ctc.head.bias"][0] = 0
    save_file(weights, model / "model.safetensors")


def run(command: str) -> None:
    words = shlex.split(command, comments=True)
    if words[:2] == ["speechx", "pretrain"]:  # six updates leave the parent at chance
        words.append("allow_chance_level=true")
    if words[0] == "speechx" and not SHELL_WORK.search(" ".join(words)):
        assert main(words[1:]) == 0, command
    else:
        subprocess.run(["bash", "-euo", "pipefail", "-c", command], env=environment(), check=True)


@pytest.mark.parametrize("block", blocks("sh", "python"), ids=name_of)
def test_a_block_runs(block, enter):
    enter(block.page)
    if block.language == "sh":
        for command in block.commands():
            run(command)
        return
    names: dict[str, Any] = {"__name__": "__main__"}
    if not (block.file or "").startswith("speechx/"):  # `enter` has imported those
        exec(compile(block.text, f"{block.page.name}:{block.line}", "exec"), names)
    for name, value in names.items():
        if name.startswith("test_"):
            value()


@pytest.mark.parametrize("block", blocks("yaml"), ids=name_of)
def test_a_configuration_is_used_by_a_command(block):
    assert block.file, "a configuration begins with a comment that names its file"
    words = {word for each in commands(pages=[block.page]) for word in each}
    assert block.file in words


@pytest.mark.parametrize("block", blocks("diff"), ids=name_of)
def test_a_change_is_of_lines_that_are_there(block):
    sources = {path.read_text(encoding="utf-8") for path in (ROOT / "speechx").rglob("*.py")}
    before = [line[1:] for line in block.text.splitlines() if line.startswith("-")]
    assert before
    for line in before:
        assert any(f"{line}\n" in source for source in sources), line


def commands(*beginning: str, pages: list[Path] = PAGES) -> list[list[str]]:
    """The words of all commands of the pages that begin so."""
    all_words = [
        shlex.split(command, comments=True)
        for block in blocks("sh", pages=pages)
        for command in block.commands()
    ]
    found = [words for words in all_words if words[: len(beginning)] == list(beginning)]
    assert found, f"there is no command {' '.join(beginning)}"
    return found


def choices(*path: str) -> list[str]:
    """The commands below a command of speechx."""
    found: Any = parser()
    for name in ("", *path):
        found = found.choices[name] if name else found
        found = next(a for a in found._actions if isinstance(a, argparse._SubParsersAction))
    return list(found.choices)


def test_every_command_is_shown():
    for name in choices():
        assert commands("speechx", name)
    page = (DOCS / "data.md").read_text(encoding="utf-8")
    for name in choices("data"):
        assert f"speechx data {name}" in page
    for name in choices("data", "prepare"):
        assert f"`{name}`" in page


def test_readme_is_for_the_first_hour():
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 180


def test_json_covers_the_whole_recording(enter, capsys):
    enter(README)
    (words,) = [w for w in commands("speechx", "transcribe", pages=[README]) if "json" in w]
    assert main(words[1:]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["audio_duration"] == printed["covered_duration"] > 1
    assert printed["text"].split() == [p["phone"] for s in printed["segments"] for p in s["phones"]]
    for phone in (p for s in printed["segments"] for p in s["phones"]):
        assert set(phone) == {"phone", "start", "end", "probability"}


def test_three_lines_of_python_write_what_the_command_writes(enter, capsys):
    enter(README)
    first = blocks("python", pages=[README])[0]
    assert len([line for line in first.text.splitlines() if line]) == 3
    exec(first.text, {})
    in_python = capsys.readouterr().out
    run(" ".join(commands("speechx", "transcribe", pages=[README])[0]))
    captured = capsys.readouterr()
    assert captured.out == in_python
    assert len(in_python.split()) > 1


def test_a_trained_model_is_one_folder(enter):
    enter(README)
    page = (DOCS / "model_folder.md").read_text(encoding="utf-8")
    for words in commands("speechx", "finetune", pages=[README]):
        (out,) = [word.removeprefix("out=") for word in words if word.startswith("out=")]
        if not Path(out).exists():
            assert main(words[1:]) == 0
        inside = {path.name for path in Path(out, "best").iterdir()}
        listed = re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE)
        assert inside == {name.replace("NAME", "ctc") for name in listed}


def test_the_log_has_the_values_of_the_tables(enter):
    enter(DOCS / "health.md")
    page = (DOCS / "health.md").read_text(encoding="utf-8")
    table = page.partition("| value | healthy | unhealthy |")[2].partition("\n\n")[0]
    named = set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE))
    assert len(named) > 3
    pretraining = keys_of("runs/tiny/pretrain")
    assert named <= pretraining
    table = page.partition("| key | meaning |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE)
    more = {key for row in rows for key in re.findall(r"`([^`]+)`", row)}
    elsewhere = {"dev_cer", "dev_accuracy"}  # in runs of other models
    assert more - elsewhere <= pretraining | keys_of("runs/tiny/seen")


def keys_of(run: str) -> set[str]:
    lines = Path(run, "log.jsonl").read_text(encoding="utf-8").splitlines()
    return {key for line in lines for key in json.loads(line)}


def test_health_has_every_code():
    from speechx import objectives
    from speechx.training.health import OVERFLOW

    page = (DOCS / "health.md").read_text(encoding="utf-8")
    codes = {OVERFLOW}
    for config in map(default_of, get_args(objectives.AnyObjective)):
        codes |= {signature.code for signature in config.signatures()}
    assert codes == set(re.findall(r"^\| (E\d+) \|", page, re.MULTILINE))


def test_pretraining_has_every_preset_and_objective():
    from speechx import objectives
    from speechx.models.presets import PRESETS

    page = (DOCS / "pretraining.md").read_text(encoding="utf-8")
    assert [name for name in PRESETS if f"`{name}`" not in page] == []
    kinds = {config.kind for config in map(default_of, get_args(objectives.AnyObjective))}
    assert kinds == set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))


def default_of(kind: Any) -> Any:
    return kind(tokens="characters") if "tokens" in kind.__annotations__ else kind()


def test_the_layout_map_names_what_is_there_and_all_of_the_package():
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    layout = page.partition("## Layout")[2].split("```")[1]
    names = {line.split("   ")[0] for line in layout.splitlines() if line.strip()}
    named = {word.rstrip("/") for name in names for word in name.split()} - {""}
    package = {path.name for path in (ROOT / "speechx").iterdir() if path.name[0] != "_"}
    assert package - named == set()
    assert {name for name in named - package if not (ROOT / name).exists()} == set()


def test_the_layers_are_those_of_the_package():
    from tests.test_layers import FLOORS

    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| ([^|]*) \|", page, re.MULTILINE)
    written = {int(number): set(re.findall(r"`([\w]+)`", names)) for number, names in rows}
    assert written == dict(enumerate(FLOORS))


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_and_files_are_there(page):
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", t.lower()).replace(" ", "-") for t in titles}
    for name in FILE.findall(prose):
        assert (ROOT / name).exists() or (page.parent / name).exists(), name
