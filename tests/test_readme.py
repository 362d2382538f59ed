"""README tells the truth: every command and every Python block of it is run here, in its order.

Each ```sh and ```python block is one test, found in the text: a new one is run without a change
here. They share a folder that holds what README speaks of: `runs/tiny` as the tiny recipe left
it, `recipes/`, a CommonVoice release, a table, and a package archive behind a fake apt-get.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from speechx.cli.main import main
from tests.babel_tree import make_conversations
from tests.conftest import small_convolutional
from tests.recipe_run import ROOT, SENTENCES, RecipeRun, environment, make_release, write_murmur

README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL_WORK = re.compile(r"[|&;<>$`*?~{}]")  # what needs a real shell


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int

    def commands(self) -> list[str]:
        """Logical lines, without comments."""
        joined = self.text.replace("\\\n", " ").splitlines()
        return [line for line in joined if shlex.split(line, comments=True)]


def blocks() -> list[Block]:
    found = re.finditer(r"^```(sh|python)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [Block(m[1], m[2], README.count("\n", 0, m.start()) + 2) for m in found]


@pytest.fixture(scope="module")
def workplace(
    recipe_runs: dict[str, RecipeRun], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The working folder of a reader who has run the quickstart."""
    from tests.corpora.test_debian_speech import SENTENCES as PROMPTS
    from tests.corpora.test_debian_speech import Archive, italian

    folder = tmp_path_factory.mktemp("reader")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    make_release(folder / "cv-corpus-22.0")
    make_conversations(folder / "IARPA_BABEL_BP_101", "101", SENTENCES["it"])
    lines = ["path\ttext"]
    for index, text in enumerate(SENTENCES["it"]):
        write_murmur(folder / f"recordings/{index}.wav", index)
        lines.append(f"recordings/{index}.wav\t{text}")
    (folder / "utterances.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        tools = folder / "debian"
        tools.mkdir()
        italian(Archive(tools, patch), PROMPTS)
        patch.chdir(folder)
        (folder / "runs").mkdir()
        shutil.copytree(recipe_runs["tiny"].finish().out, folder / "runs/tiny")
        speak(folder / "runs/tiny/seen/best")
        download(folder / "wav2vec2-xls-r")
        yield folder


def download(model: Path) -> None:
    """A folder as users have it from Hugging Face, of a small model."""
    import torch

    from speechx.interchange.conversion import convert
    from speechx.models.wav2vec2 import Wav2Vec2Pretraining
    from speechx.training.checkpoint import save_model

    torch.manual_seed(0)
    small = Wav2Vec2Pretraining(small_convolutional("layer"))
    ours = model.with_name("small")
    save_model(ours, "pretraining", small, small.config, ["xx"])
    convert(ours, model, "hugging_face")


def speak(model: Path) -> None:
    """Six updates teach a model nothing but the blank; without its blank it writes phones."""
    from safetensors.torch import load_file, save_file

    weights = load_file(model / "model.safetensors")
    weights["head.weight"] *= 30
    weights["head.bias"][0] = 0
    save_file(weights, model / "model.safetensors")


def run(command: str) -> None:
    words = shlex.split(command, comments=True)
    if words[:2] == ["speechx", "pretrain"]:  # six updates leave the parent at chance
        words.append("accept_chance=true")
    if words[0] == "speechx" and not SHELL_WORK.search(" ".join(words)):
        assert main(words[1:]) == 0, command
    else:
        subprocess.run(["bash", "-euo", "pipefail", "-c", command], env=environment(), check=True)


@pytest.mark.parametrize("block", blocks(), ids=lambda b: f"{b.language}-line-{b.line}")
def test_a_block_runs(block, workplace):
    if block.language == "python":
        exec(compile(block.text, f"README.md:{block.line}", "exec"), {"__name__": "__main__"})
    else:
        for command in block.commands():
            run(command)


def commands(*beginning: str) -> list[list[str]]:
    """The words of all README's commands that begin so."""
    all_words = [
        shlex.split(command, comments=True)
        for block in blocks()
        if block.language == "sh"
        for command in block.commands()
    ]
    found = [words for words in all_words if words[: len(beginning)] == list(beginning)]
    assert found, f"README has no command {' '.join(beginning)}"
    return found


def test_every_command_of_speechx_is_shown():
    verbs = ("data", "pretrain", "finetune", "transcribe", "phonemize", "evaluate")
    for verb in (*verbs, "convert", "health", "analyze"):
        assert commands("speechx", verb)


def test_json_covers_the_whole_recording(workplace, capsys):
    (words,) = [words for words in commands("speechx", "transcribe") if "json" in words]
    assert main(words[1:]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["audio_duration"] == said["covered_duration"] > 1
    assert said["text"].split() == [p["phone"] for s in said["segments"] for p in s["phones"]]
    for phone in (p for s in said["segments"] for p in s["phones"]):
        assert set(phone) == {"phone", "start", "end", "probability"}


def test_three_lines_of_python_write_what_the_command_writes(workplace, capsys):
    first = next(block for block in blocks() if block.language == "python")
    assert len([line for line in first.text.splitlines() if line]) == 3
    exec(first.text, {})
    in_python = capsys.readouterr().out
    run(next(" ".join(words) for words in commands("speechx", "transcribe")))
    captured = capsys.readouterr()
    assert captured.out == in_python
    assert len(in_python.split()) > 1


def test_a_trained_model_is_one_folder(workplace):
    for words in commands("speechx", "finetune"):
        (out,) = [word.removeprefix("out=") for word in words if word.startswith("out=")]
        if not Path(out).exists():
            assert main(words[1:]) == 0
        inside = {path.name for path in Path(out, "best").iterdir()}
        assert inside == {"model.safetensors", "config.yaml", "vocabulary.json"}
        assert all(f"`{name}`" in README for name in inside)


def test_the_log_has_the_values_of_the_table(workplace):
    table = README.partition("| value | healthy | sick |")[2].partition("\n\n")[0]
    named = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert len(named) > 3
    assert set(named) <= set(first_report("runs/tiny/pretrain"))
    assert "blank_share" in first_report("runs/tiny/seen")


def first_report(run: str) -> dict[str, object]:
    return json.loads(Path(run, "log.jsonl").read_text(encoding="utf-8").splitlines()[0])


def test_the_layout_map_names_what_is_there_and_all_of_the_package():
    layout = README.partition("## Layout")[2].split("```")[1]
    names = {line.split("   ")[0] for line in layout.splitlines() if line.strip()}
    named = {word.rstrip("/") for name in names for word in name.split()} - {""}
    package = {path.name for path in (ROOT / "speechx").iterdir() if path.name[0] != "_"}
    assert package - named <= {"config.py", "errors.py"}
    assert {name for name in named - package if not (ROOT / name).exists()} == set()


def test_files_it_speaks_of_are_there():
    for name in re.findall(r"`((?:[\w.-]+/)*[A-Za-z][\w.-]*\.(?:md|sh|txt))`", README):
        assert (ROOT / name).exists(), name
