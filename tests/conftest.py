"""What many tests share: tiny corpora of tones, tiny models, runs that end in seconds.

Nothing here imports torch before a test asks for it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# One thread per process, in the processes that tests start too: all tensors here are tiny.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

from speechx.data.manifest import Utterance, write_manifest
from speechx.log import log_to_stderr

# For `from tests.models.reference_models import ...`, here and in the processes that tests start.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

# A background job ignores Ctrl-C, and so would the programs that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

RATE = 16_000
TONES = {"a": 300.0, "b": 700.0, "c": 1500.0, "d": 3000.0}  # Hz: one letter, one phone, one tone


def tone_wave(letters: str, random: np.random.Generator) -> np.ndarray:
    """A 0.15 s tone for each letter with a short pause after it, and noise under everything."""
    pieces = []
    for letter in letters:
        time = np.arange(int(0.15 * RATE)) / RATE
        pieces += [np.sin(2 * np.pi * TONES[letter] * time), np.zeros(int(0.03 * RATE))]
    whole = np.concatenate(pieces)
    return (0.3 * whole + 0.01 * random.standard_normal(len(whole))).astype(np.float32)


def write_wav(path: Path, wave_S: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((wave_S * 32767).astype("<i2").tobytes())


def tone_corpus(folder: Path, counts: dict[str, int], seed: int = 0) -> list[Utterance]:
    """`counts` utterances per language, 0.9 to 1.6 seconds each, two speakers a language."""
    random = np.random.default_rng(seed)
    utterances = []
    for language, count in counts.items():
        for index in range(count):
            letters = "".join(random.choice(list(TONES), random.integers(5, 10)))
            path = folder / language / f"{index}.wav"
            wave_S = tone_wave(letters, random)
            write_wav(path, wave_S)
            utterances.append(
                Utterance(
                    id=f"{language}_{index}",
                    audio=path,
                    duration=len(wave_S) / RATE,
                    language=language,
                    text=letters,
                    phones=tuple(letters),
                    speaker=f"{language}_{index % 2}",
                )
            )
    return utterances


@pytest.fixture(autouse=True, scope="session")
def _messages_on_stderr() -> None:
    """Messages are seen where the command line shows them."""
    log_to_stderr()


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> list[Utterance]:
    """Twenty labelled utterances in two languages, not to be written to."""
    return tone_corpus(tmp_path_factory.mktemp("tones"), {"xx": 12, "yy": 8})


@pytest.fixture(scope="session")
def manifests(tones: list[Utterance]) -> tuple[Path, Path]:
    """Manifests of `tones`: 16 utterances to train on, 4 to test on."""
    folder = tones[0].audio.parent.parent
    held_out = [tones[0], tones[1], tones[12], tones[13]]
    write_manifest(folder / "train.jsonl", [u for u in tones if u not in held_out])
    write_manifest(folder / "dev.jsonl", held_out)
    return folder / "train.jsonl", folder / "dev.jsonl"


def small_filterbank() -> Any:
    """The least `EncoderConfig` with every kind of dropout on: 4 thousand parameters."""
    from speechx.models.context.transformer import TransformerConfig
    from speechx.models.encoder import EncoderConfig
    from speechx.models.features.convolutional import Convolution
    from speechx.models.features.filterbank import FilterbankConfig

    convolutions = (
        Convolution(channels=16, kernel=3, stride=2),
        Convolution(channels=12, kernel=3, stride=1),
    )
    return EncoderConfig(
        features=FilterbankConfig(num_mel_bins=20, layers=convolutions, gradient_scale=0.5),
        context=TransformerConfig(
            num_layers=2, embed_dim=16, ffn_dim=24, num_heads=2, norm="pre", position_kernel=7,
            position_groups=4, dropout=0.1, attention_dropout=0.1, activation_dropout=0.1,
            layer_drop=0.0,
        ),
        normalize=True,
        input_dropout=0.1,
    )  # fmt: skip


SMALL_QUANTIZER = {"num_groups": 2, "num_entries": 10, "dim": 8}


def small_convolutional(norm: str = "group", num_layers: int = 2) -> Any:
    """Seven convolutions of 12 channels, base-like (norm "group") or XLSR-like ("layer")."""
    from speechx.models.context.transformer import TransformerConfig
    from speechx.models.encoder import EncoderConfig
    from speechx.models.features.convolutional import ConvolutionalConfig, seven_convolutions

    large = norm == "layer"
    return EncoderConfig(
        features=ConvolutionalConfig(
            layers=seven_convolutions(12), norm=norm, bias=large, gradient_scale=1.0
        ),
        context=TransformerConfig(
            num_layers=num_layers, embed_dim=16, ffn_dim=24, num_heads=2,
            norm="pre" if large else "post", position_kernel=16, position_groups=4, dropout=0.0,
            attention_dropout=0.0, layer_drop=0.0,
        ),
        normalize=large,
        input_dropout=0.0,
    )  # fmt: skip


def small_causal(kind: str) -> Any:
    """An encoder as of the objective "cpc" or "wav2vec", 8 wide."""
    from dataclasses import replace

    from speechx.models.context.causal_convolutions import CausalConvolutionsConfig
    from speechx.models.context.lstm import LSTMConfig
    from speechx.models.features.cpc import CPCFeaturesConfig, five_convolutions
    from speechx.models.features.wav2vec import Wav2VecFeaturesConfig, wav2vec_convolutions
    from speechx.models.presets import preset

    if kind == "cpc":
        features: Any = CPCFeaturesConfig(layers=five_convolutions(8))
        context: Any = LSTMConfig(embed_dim=8)
    else:
        features = Wav2VecFeaturesConfig(layers=wav2vec_convolutions(8))
        context = CausalConvolutionsConfig(embed_dim=8, kernels=(2, 3))
    return replace(preset(kind).encoder, features=features, context=context, normalize=True)


SMALL_FUTURE: dict[str, dict[str, Any]] = {
    "cpc": {
        "kind": "cpc", "window": 4800, "num_steps": 4, "num_negatives": 10, "num_heads": 2,
        "ffn_dim": 12,
    },
    "wav2vec": {"kind": "wav2vec", "num_steps": 4},
}  # fmt: skip


def future_config(out: Path, manifests: tuple[Path, Path], kind: str, **changes: Any) -> Any:
    """A run of `pretrain_config` that predicts later frames, with "cpc" or "wav2vec"."""
    from speechx.config import merge, to_dict

    settings = {"encoder": to_dict(small_causal(kind)), "objective": SMALL_FUTURE[kind]}
    return pretrain_config(out, manifests, **merge(settings, changes))


def pretrain_config(out: Path, manifests: tuple[Path, Path], **changes: Any) -> Any:
    """A pretraining run of 6 steps of 2 x 3 seconds; `run` and other sections can be changed."""
    from speechx.config import merge, to_dict
    from speechx.pretraining import Pretrain
    from tests.configs import make_config

    settings: dict[str, Any] = {
        "out": str(out),
        "data": {"train": [str(manifests[0])], "dev": [str(manifests[1])], "min_seconds": 0.5},
        "objective": {"kind": "wav2vec2", "num_negatives": 10},
        "optim": {"lr": 0.005, "warmup_ratio": 0.0},
        "run": {
            "steps": 6, "batch_seconds": 6, "max_seconds_per_device": 3, "device": "cpu",
            "log_steps": 1, "eval_steps": 100, "save_steps": 2,
        },
    }  # fmt: skip
    if changes.get("init") is None:
        settings["encoder"] = to_dict(small_filterbank())
        settings["objective"] |= {"quantizer": SMALL_QUANTIZER, "target_dropout": 0.1}
    return make_config(Pretrain, merge(settings, changes))


def finetune_config(out: Path, manifests: tuple[Path, Path], **changes: Any) -> Any:
    """A fine-tuning run of 6 steps of 2 x 5 seconds on characters."""
    from speechx.config import merge, to_dict
    from speechx.finetuning import Finetune
    from tests.configs import make_config

    settings: dict[str, Any] = {
        "out": str(out),
        "data": {"train": [str(manifests[0])], "dev": [str(manifests[1])]},
        "objective": {
            "kind": "ctc", "tokens": "characters", "dropout": 0.1,
            "channel_masking": {"probability": 0.25, "span": 3},
        },
        "optim": {"lr": 0.005},
        "run": {
            "steps": 6, "batch_seconds": 10, "max_seconds_per_device": 5, "device": "cpu",
            "log_steps": 1, "eval_steps": 100, "save_steps": 2,
        },
    }  # fmt: skip
    if "init" not in changes:
        settings["encoder"] = to_dict(small_filterbank())
    return make_config(Finetune, merge(settings, changes))


SMALL_CONFORMER = {
    "kind": "conformer", "num_layers": 2, "embed_dim": 16, "ffn_dim": 24, "num_heads": 2,
    "conv_kernel": 5, "dropout": 0.1, "layer_drop": 0.3,
}  # fmt: skip


def tasks_config(out: Path, manifests: tuple[Path, Path], **changes: Any) -> Any:
    """A run of 6 steps with three tasks, each with 2 x 3 seconds a step."""
    from speechx.config import merge, to_dict
    from speechx.pretraining import Pretrain
    from tests.configs import make_config

    data = {"train": [str(manifests[0])], "dev": [str(manifests[1])]}
    masking = {"channel_masking": {"probability": 0.25, "span": 3}}
    speech = {"kind": "wav2vec2", "num_negatives": 10, "quantizer": SMALL_QUANTIZER}
    settings: dict[str, Any] = {
        "out": str(out),
        "encoder": to_dict(small_filterbank()),
        "tasks": {
            "speech": {"objective": speech, "data": {**data, "min_seconds": 0.5}},
            "phones": {
                "objective": {"kind": "ctc", "tokens": "phonemes", "dropout": 0.1, **masking},
                "data": data,
            },
            "language": {"objective": {"kind": "language_id", **masking}, "data": data},
        },
        "optim": {"lr": 0.005, "warmup_ratio": 0.0},
        "run": {
            "steps": 6, "batch_seconds": 6, "max_seconds_per_device": 9, "device": "cpu",
            "log_steps": 1, "eval_steps": 3, "save_steps": 2,
        },
    }  # fmt: skip
    return make_config(Pretrain, merge(settings, changes))


def batches_of(config: Any, world: int = 1, rank: int = 0) -> Iterator[Any]:
    """The training batches of the only task of a run, as one rank gets them."""
    import torch

    from speechx.data.sampling import Position
    from speechx.training.distributed import Ranks
    from speechx.training.streams import TaskSource

    ((name, task),) = config.all_tasks().items()
    ranks = Ranks(rank, world, torch.device("cpu"))
    source = TaskSource(name, task.data, task.objective, config.encoder, config.run.seed)
    seconds, workers = config.micro_seconds(task, world), config.run.num_workers(ranks.device)
    data = source.read(config.out / "too_long.tsv")
    return source.stream(data, seconds, workers, ranks)(Position())


def read_log(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's log without the clock, which no two runs share."""
    import json

    clock = ("seconds", "audio_seconds", "waiting_share")
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in clock} for line in lines]


class Interrupted(Exception):
    """Raised by `run_job` where a run is to break off."""


@contextmanager
def interrupted_at(step: int | None, kill: bool = False) -> Iterator[None]:
    """Every training in this block breaks off, or is killed, at that step."""
    from speechx.objectives.model import SpeechModel

    forward = SpeechModel.forward

    def forward_or_stop(self: Any, batches: Any, at: Any, *rest: Any) -> Any:
        if at is not None and at == step:
            if kill:
                os.kill(os.getpid(), signal.SIGKILL)
            raise Interrupted
        return forward(self, batches, at, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SpeechModel, "forward", forward_or_stop)
        yield


def run_job(
    command: str, config: Any, resume: bool = False, stop_at: int | None = None, kill: bool = False
) -> None:
    """A pretraining or fine-tuning run that breaks off, or is killed, at step `stop_at`."""
    from speechx.finetuning import finetune
    from speechx.pretraining import pretrain

    with interrupted_at(stop_at, kill):
        try:
            (pretrain if command == "pretrain" else finetune)(config, resume=resume)
        except Interrupted:
            assert stop_at is not None


def _work(work: Callable[..., None], *arguments: Any) -> None:
    # Loader workers are forked as in any run; the server's own would outlive a killed run.
    multiprocessing.set_start_method("fork", force=True)
    work(*arguments)


def start(work: Callable[..., None], *arguments: Any) -> Any:
    """`work(*arguments)` in a process of its own, forked from a server that has torch loaded."""
    context = multiprocessing.get_context("forkserver")
    # An optimizer imports torch._dynamo at its first step, which takes a second.
    context.set_forkserver_preload(["torch._dynamo", "speechx.pretraining", "speechx.finetuning"])
    process = context.Process(target=_work, args=(work, *arguments))
    process.start()
    return process


def finish(*processes: Any, seconds: float = 90) -> list[int]:
    """Their exit codes; processes that hang are killed and fail the test."""
    end = time.monotonic() + seconds
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
    hanging = [process for process in processes if process.exitcode is None]
    for process in hanging:
        process.kill()
        process.join()
    if hanging:
        pytest.fail(f"{len(hanging)} of {len(processes)} processes hung for {seconds:g} seconds")
    return [process.exitcode for process in processes]


@pytest.fixture(scope="session")
def recipe_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Both recipes, short, side by side; `recipe_runs["tiny"].finish()` waits for one."""
    from tests.recipe_run import start_commonvoice, start_tiny

    folder = tmp_path_factory.mktemp("recipes")
    runs = {"tiny": start_tiny(folder), "commonvoice": start_commonvoice(folder)}
    yield runs
    for run in runs.values():
        run.stop()
