"""The recipes themselves, `run.sh` and all, made short by their own settings.

Both are started together, one for each core, by the fixture `recipe_runs` of conftest.py; whoever
needs one waits for it.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from tests.babel_packs import make_conversations

THEIR_SETTINGS = (
    *("OUT", "SEED", "SEEDS", "MINUTES", "LANGUAGES", "PROCESSES", "SETTINGS"),
    *("ADAPT", "ADAPT_STEPS", "CHILD", "FEW_STEPS", "COMPARE_STEPS", "PARENT", "PREPARE"),
    *("HEADS", "HELD_OUT", "INIT", "LM", "TOPLINE"),
    *("ALIGNMENTS", "BATCH", "KINDS", "LABELS", "OBJECTIVES", "PRESET", "RELATED", "STAGES"),
    *("STEPS", "TARGET"),
)
ROOT = Path(__file__).resolve().parent.parent
SETTINGS = (  # a model of 0.1 million parameters, 6 updates
    "preset=tiny encoder.context.num_layers=1 encoder.context.embed_dim=48 "
    "encoder.context.ffn_dim=96 run.steps=6 run.eval_steps=6 run.batch_seconds=16 "
    "run.max_seconds_per_device=16 run.device=cpu"
)
SENTENCES = {
    "es": ("buenos días", "¿qué tal?", "la casa es grande", "hasta mañana", "muchas gracias"),
    "it": ("buongiorno", "come va?", "la casa è grande", "a domani", "grazie mille"),
}


def environment(**settings: str) -> dict[str, str]:
    """This environment with our `speechx` first on PATH, and no settings but these."""
    kept = {name: value for name, value in os.environ.items() if name not in THEIR_SETTINGS}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**kept, "PATH": path, "OMP_NUM_THREADS": "1", **settings}


@dataclass
class RecipeRun:
    """One script at work; `out` is its output folder, what it prints lies beside it."""

    script: Path
    arguments: tuple[str, ...]
    out: Path
    settings: dict[str, str]

    def start(self) -> RecipeRun:
        self.stdout, self.stderr = self.out.with_suffix(".stdout"), self.out.with_suffix(".stderr")
        with self.stdout.open("w") as out, self.stderr.open("w") as err:
            self.process = subprocess.Popen(
                ["bash", str(self.script), *self.arguments],
                env=environment(OUT=str(self.out), **self.settings),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        return self

    def finish(self) -> RecipeRun:
        """Waits for the end and asserts that it is a good one."""
        code = self.process.wait(timeout=1200)
        end = "\n".join(self.stderr.read_text().splitlines()[-20:])
        assert code == 0, f"{self.script} ended with {code}:\n{end}"
        return self

    def stop(self) -> None:
        """Ends what still runs."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, 15)
            self.process.wait()


def start_tiny(folder: Path) -> RecipeRun:
    """recipes/tiny: ten languages, 0.3 minutes of training speech each, one seed."""
    settings = {"MINUTES": "0.3", "SEEDS": "1", "SETTINGS": SETTINGS}
    return RecipeRun(ROOT / "recipes/tiny/run.sh", (), folder / "tiny", settings).start()


def start_commonvoice(folder: Path) -> RecipeRun:
    """recipes/commonvoice on a miniature release of two languages and a table of phones."""
    release = folder / "cv-corpus-22.0"
    make_release(release)
    phones = make_phones(folder / "phones.tsv", release / "es")
    settings = {"LANGUAGES": "es it", "ADAPT_STEPS": "6", "SETTINGS": SETTINGS}
    script = ROOT / "recipes/commonvoice/run.sh"
    arguments = (str(release), str(phones))
    return RecipeRun(script, arguments, folder / "commonvoice", settings).start()


def start_continued(folder: Path, release: Path, phones: Path) -> RecipeRun:
    """recipes/continued on the same release; six updates leave its parent at chance."""
    settings = {
        "LANGUAGES": "es", "SEEDS": "1", "CHILD": "allow_chance_level=true", "FEW_STEPS": "6",
        "SETTINGS": SETTINGS,
    }  # fmt: skip
    script = ROOT / "recipes/continued/run.sh"
    return RecipeRun(script, (str(release), str(phones)), folder / "continued", settings).start()


def start_unseen(folder: Path, data: Path, **settings: str) -> RecipeRun:
    """recipes/unseen on manifests with phones; six updates."""
    script = ROOT / "recipes/unseen/run.sh"
    given = {"SEEDS": "1", "SETTINGS": SETTINGS, **settings}
    return RecipeRun(script, (str(data),), folder / "unseen", given).start()


def start_objectives(folder: Path, data: Path, **settings: str) -> RecipeRun:
    """recipes/objectives on manifests with phones; six updates."""
    script = ROOT / "recipes/objectives/run.sh"
    small = "encoder.context.num_layers=1 run.eval_steps=6 run.device=cpu"
    given = {"SEEDS": "1", "STEPS": "6", "FEW_STEPS": "6", "BATCH": "16", "SETTINGS": small}
    return RecipeRun(script, (str(data),), folder / "objectives", {**given, **settings}).start()


def start_whistle(folder: Path, data: Path, **settings: str) -> RecipeRun:
    """recipes/whistle on manifests with phones; six updates."""
    script = ROOT / "recipes/whistle/run.sh"
    small = "encoder.context.num_layers=1 run.eval_steps=6 run.batch_seconds=16 "
    small += "run.max_seconds_per_device=16 run.device=cpu"
    given = {"SEEDS": "1", "STEPS": "6", "FEW_STEPS": "6", "LABELS": "1", "SETTINGS": small}
    return RecipeRun(script, (str(data),), folder / "whistle", {**given, **settings}).start()


def start_findings(folder: Path, data: Path, **settings: str) -> RecipeRun:
    """recipes/findings on manifests with phones; six updates."""
    script = ROOT / "recipes/findings/run.sh"
    small = "preset=tiny encoder.context.num_layers=1 run.eval_steps=6 run.device=cpu"
    given = {"SEEDS": "1", "STEPS": "6", "FEW_STEPS": "6", "LABELS": "1", "SETTINGS": small}
    return RecipeRun(script, (str(data),), folder / "findings", {**given, **settings}).start()


def start_babel(folder: Path) -> RecipeRun:
    """recipes/babel on two miniature packs, compressed by shorten; six updates."""
    for code, language in (("105", "it"), ("901", "es")):
        make_conversations(folder / "packs", code, SENTENCES[language])
    settings = {"PREPARE": "--hesitations keep", "SETTINGS": SETTINGS}
    script = ROOT / "recipes/babel/run.sh"
    return RecipeRun(script, (str(folder / "packs"),), folder / "babel", settings).start()


def make_release(root: Path) -> None:
    """A CommonVoice release: mp3 clips of es and it, some of them without a validated sentence."""
    voices = itertools.count()
    for language, sentences in SENTENCES.items():
        rows: dict[str, list[str]] = {"train": [], "dev": [], "test": [], "other": []}
        for split, number in (("train", 8), ("dev", 2), ("test", 2), ("other", 2)):
            for index in range(number):
                clip = f"common_voice_{language}_{split}{index}.mp3"
                write_murmur(root / language / "clips" / clip, next(voices))
                sentence = sentences[index % len(sentences)]
                rows[split].append(f"speaker{index % 2}\t{clip}\t{sentence}\t2\t0\t{language}")
        for split, lines in rows.items():
            header = "client_id\tpath\tsentence\tup_votes\tdown_votes\tlocale"
            text = "\n".join([header, *lines]) + "\n"
            (root / language / f"{split}.tsv").write_text(text, encoding="utf-8")


def make_phones(table: Path, language: Path) -> Path:
    """A table of the clips of one language with made-up phones."""
    lines = ["path\tsplit\tphones"]
    for split in ("train", "dev", "test"):
        for index, clip in enumerate(sorted(language.glob(f"clips/*_{split}*.mp3"))):
            phones = ("b w e n o s", "d i a s", "k e t a l")[index % 3]
            lines.append(f"{clip.relative_to(table.parent)}\t{split}\t{phones}")
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def write_murmur(path: Path, seed: int, seconds: float = 1.4, rate: int = 32_000) -> None:
    """Noise that comes and goes, as loud as speech; the format is that of the suffix."""
    random = np.random.default_rng(seed)
    time_S = np.arange(round(seconds * rate)) / rate
    wave_S = random.normal(0, 0.1, len(time_S)) * np.sin(2 * np.pi * 4 * time_S + seed) ** 2
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave_S, rate)
