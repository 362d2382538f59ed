"""Training an adapter: one language, a frozen encoder, a folder that reads out."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from speechx.data.manifest import read_manifest, write_manifest
from speechx.errors import UserError
from speechx.evaluation import evaluate_model
from speechx.finetuning import finetune
from speechx.interchange.opening import open_model
from speechx.models.adapters import Adapter, AdapterConfig, is_adapter
from speechx.models.encoder import Encoder, with_adapters
from speechx.models.folder import open_folder
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.model import SpeechModel
from speechx.objectives.wav2vec2 import Wav2Vec2Config
from speechx.text.vocabulary import Vocabulary
from speechx.transcription.loading import load
from tests.conftest import (
    SMALL_CONFORMER,
    finetune_config,
    run_job,
    small_filterbank,
    tone_wave,
)
from tests.mms_folders import mms_folder, opened


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A pretrained model with random weights."""
    folder = tmp_path_factory.mktemp("parent") / "final"
    torch.manual_seed(7)
    SpeechModel(small_filterbank(), {"wav2vec2": Wav2Vec2Config()}, {}).save(folder, ["xx"])
    return folder


@pytest.fixture(scope="module")
def yoruba(manifests, tmp_path_factory):
    """Manifests of one language."""
    folder = tmp_path_factory.mktemp("yoruba")
    for path in manifests:
        some = [u for u in read_manifest(path) if u.language == "xx"]
        write_manifest(folder / path.name, [replace(u, language="yo") for u in some])
    return folder / "train.jsonl", folder / "dev.jsonl"


def adapting(out, manifests, init, adapter="yor", **changes):
    objective = {"adapter": adapter}
    return finetune_config(out, manifests, init=str(init), objective=objective, **changes)


@pytest.fixture(scope="module")
def trained(parent, yoruba, tmp_path_factory):
    """The run folder of an adapter for Yoruba."""
    out = tmp_path_factory.mktemp("adapter") / "run"
    finetune(adapting(out, yoruba, parent))
    return out


def test_a_fresh_adapter_changes_nothing():
    for encoder in (small_filterbank(), with_conformer()):
        torch.manual_seed(0)
        plain, adapted = Encoder(encoder).eval(), Encoder(with_adapters(encoder, 4)).eval()
        adapted.load_state_dict(plain.state_dict(), strict=False)
        wave_BS = torch.randn(2, 8000)
        with torch.inference_mode():
            assert torch.equal(plain(wave_BS).context_BTD, adapted(wave_BS).context_BTD)


def with_conformer():
    from speechx.config import merge, parse, to_dict
    from speechx.models.encoder import EncoderConfig

    raw = {**to_dict(small_filterbank()), "context": SMALL_CONFORMER}
    return parse(EncoderConfig, merge({}, raw), "test")


def test_an_adapter_is_a_residual_branch():
    adapter = Adapter(6, 3)
    torch.nn.init.normal_(adapter.up.weight)
    x_BTD = torch.randn(2, 5, 6)
    hidden = torch.relu(adapter.down(adapter.norm(x_BTD)))
    assert torch.allclose(adapter(x_BTD), x_BTD + adapter.up(hidden))


def test_the_encoder_stays_as_it_is_to_the_bit(parent, trained):
    before = open_folder(parent).part("encoder.")
    for name in ("best", "final"):
        after = open_folder(trained / name).part("encoder.")
        assert after.keys() == before.keys()
        assert all(torch.equal(after[n], before[n]) for n in before)


def test_the_adapter_learns(trained):
    saved = opened(trained / "final")
    learned = {n: t for n, t in saved.weights.items() if is_adapter(n)}
    assert learned
    assert all(t.abs().sum() > 0 for n, t in learned.items() if n.endswith("up.weight"))


def test_the_folder_opens_and_names_its_language(trained):
    model = load(trained / "best", device="cpu")
    transcript = model.transcribe(tone_wave("abcd", np.random.default_rng(0)))
    assert transcript.token_type == "characters"
    assert opened(trained / "best", "Yoruba").language == "yor"
    with pytest.raises(UserError, match="no language 'hau'"):
        opened(trained / "best", "hau")


def test_evaluation_takes_the_adapter_of_the_manifests_language(trained, yoruba, manifests):
    assert "yo" in str(evaluate_model(trained / "best", [yoruba[1]], device="cpu"))
    with pytest.raises(UserError, match="one language at a time"):
        evaluate_model(trained / "best", [manifests[1]], device="cpu")


def test_temperature_and_times_belong_to_the_language(trained, yoruba, tmp_path):
    folder, vocabulary = tmp_path / "own", Vocabulary("characters", ("a", "b"))
    objective = CTCConfig(tokens="characters", adapter=AdapterConfig(language="yor", dim=4))
    encoder = with_adapters(small_filterbank(), 4)
    model = SpeechModel(encoder, {"ctc": objective}, {"ctc": vocabulary})
    model.heads["ctc"].temperature = 1.5
    model.save(folder, ["yor"])
    shutil.copy(trained / "best/times_ctc_yor.safetensors", folder)
    for suffix in (".json", ".safetensors"):
        shutil.copy(folder / f"adapters/yor{suffix}", folder / f"adapters/ita{suffix}")
    own, other = (load(folder, "cpu", language=language) for language in ("yor", "ita"))
    assert own.sounds is not None
    assert (own.head.temperature, other.head.temperature, other.sounds) == (1.5, 1, None)
    folder = shutil.copytree(trained / "best", tmp_path / "best")
    evaluate_model(folder, [yoruba[1]], device="cpu", calibrate=True)
    assert [*open_folder(folder).temperatures] == ["ctc_yor"]


def test_an_adapter_moves_to_another_folder_with_its_encoder(parent, trained, tmp_path):
    folder = shutil.copytree(parent, tmp_path / "many")
    shutil.copytree(trained / "best/adapters", folder / "adapters")
    one, two = opened(folder, "yor"), opened(trained / "best", "yor")
    assert one.weights.keys() == two.weights.keys()
    assert all(torch.equal(one.weights[n], two.weights[n]) for n in one.weights)


def test_a_killed_run_goes_on_to_the_same_adapter(parent, yoruba, trained, tmp_path):
    config = adapting(tmp_path / "run", yoruba, parent)
    run_job("finetune", config, stop_at=4)
    run_job("finetune", config, resume=True)
    ours, theirs = (opened(run / "final").weights for run in (tmp_path / "run", trained))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_moments_exist_only_for_what_trains(trained):
    from torch.distributed.checkpoint import FileSystemReader

    (state, *_) = sorted((trained / "state").iterdir(), reverse=True)
    names = FileSystemReader(state).read_metadata().state_dict_metadata
    moments = [name for name in names if name.startswith("optimizer.state")]
    assert moments
    assert all(is_adapter(name) or "objectives." in name for name in moments)


def test_from_a_folder_of_mms_and_from_one_of_its_languages(yoruba, tmp_path):
    mms = mms_folder(tmp_path / "mms")
    base = open_model(mms).weights
    for name, adapter in {
        "fresh": {"language": "yor", "dim": 4},
        "started": {"language": "yor", "dim": 5, "start": "uz-Latn"},
    }.items():
        run = {"steps": 1}
        finetune(adapting(tmp_path / name, yoruba, mms, adapter, run=run, optim={"lr": 1e-9}))
        saved = opened(tmp_path / name / "final", "yo")
        assert all(torch.equal(saved.weights[n], t) for n, t in base.items())
        assert len(saved.weights["encoder.context.layers.0.adapter.down.weight"]) == adapter["dim"]
    first = "encoder.context.layers.0.adapter.down.weight"
    started_from = opened(mms, "uz-Latn").weights[first]
    assert torch.allclose(saved.weights[first], started_from, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"adapter": "hau"}, "objective.adapter is for hau, .*yo"),
        ({"adapter": {"language": "yor", "start": "eng"}}, "has no adapters"),
        ({"adapter": {"language": "yor", "dim": 0}}, "dim must be above 0"),
        ({"adapter": {"language": "to be found"}}, "expected a code of ISO 639-3"),
        ({"adapter": {"language": "yor", "width": 3}}, "unknown key 'objective.adapter.width'"),
        ({"encoder": {"context": {"adapter_dim": 4}}}, "adapter_dim follows from"),
    ],
)
def test_what_cannot_be_trained(parent, yoruba, tmp_path, changes, expected):
    changes = {"adapter": "yor", "init": parent, **changes}
    with pytest.raises(UserError, match=expected):
        finetune(adapting(tmp_path / "run", yoruba, **changes))


def test_an_adapter_of_nothing(yoruba, tmp_path):
    with pytest.raises(UserError, match="init is required"):
        finetune_config(tmp_path / "run", yoruba, objective={"adapter": "yor"})


def test_two_languages_in_the_data(parent, manifests, tmp_path):
    with pytest.raises(UserError, match="manifests of its language alone"):
        finetune(adapting(tmp_path / "run", manifests, parent))


def test_a_start_of_another_width(yoruba, tmp_path):
    adapter = {"language": "yor", "start": "eng"}
    with pytest.raises(UserError, match=r"dim is 16, but the adapter for eng has 5"):
        finetune(adapting(tmp_path / "run", yoruba, mms_folder(tmp_path / "mms"), adapter))


def test_an_adapter_beside_a_head(tmp_path, trained):
    """A folder with a head of its own reads out without an adapter too."""
    vocabulary = Vocabulary("characters", ("a", "b"))
    objective = CTCConfig(tokens="characters")
    model = SpeechModel(small_filterbank(), {"ctc": objective}, {"ctc": vocabulary})
    saved = open_folder(trained / "best")
    weights = {**model.state_dict(), **saved.weights}
    model.load_state_dict(weights)
    model.save(tmp_path / "both", ["xx"])
    shutil.copytree(trained / "best/adapters", tmp_path / "both/adapters")
    assert opened(tmp_path / "both").vocabularies == {"ctc": vocabulary}
    adapted = opened(tmp_path / "both", "yor")
    assert adapted.vocabularies["ctc"].tokens == ("a", "b", "c", "d")


def test_evaluation_in_a_language_that_is_chosen(trained, manifests, yoruba):
    """The manifests may name it otherwise, or have several."""
    table, _ = evaluate_model(trained / "best", [manifests[1]], device="cpu", language="yor")
    assert "CER" in table
    with pytest.raises(UserError, match="no language 'hau'"):
        evaluate_model(trained / "best", [yoruba[1]], device="cpu", language="hau")
