"""Fine-tuning as a whole, on tones: it learns to spell, freezes, resumes to the bit."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from speechx.config import to_dict
from speechx.data.batches import Batch
from speechx.data.exclusion import Exclusion, write_exclusions
from speechx.data.manifest import read_manifest, write_manifest
from speechx.data.sampling import Position
from speechx.errors import UserError
from speechx.finetuning import (
    Finetuning,
    finetune,
    load_config,
    start_from,
    transcripts,
)
from speechx.models.ctc import CTC
from speechx.models.wav2vec2 import Wav2Vec2Pretraining
from speechx.text.vocabulary import Vocabulary
from speechx.training.checkpoint import load_weights, open_model, save_model
from speechx.training.distributed import Machine
from tests.conftest import (
    finetune_config,
    finish,
    read_log,
    run_job,
    small_convolutional,
    small_filterbank,
    start,
    tone_wave,
    write_wav,
)

HERE = Machine(0, 1, torch.device("cpu"))
LETTERS = Vocabulary("characters", ("a", "b", "c", "d"))


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A model folder of pretraining, with random weights."""
    torch.manual_seed(7)
    model = Wav2Vec2Pretraining(small_filterbank())
    folder = tmp_path_factory.mktemp("parent") / "final"
    save_model(folder, "pretraining", model, model.config, ["xx"])
    return folder


def weights_of_every_step(config, monkeypatch):
    """The model after each step of a run (`eval_steps` 1)."""
    history = []

    def keep(self, model, step, values):
        history.append({n: t.detach().clone() for n, t in model.state_dict().items()})
        original(self, model, step, values)

    original = Finetuning.keep
    monkeypatch.setattr(Finetuning, "keep", keep)
    finetune(config)
    return history


def moved(before, after, part):
    """Names of the tensors of a part that changed."""
    return {n for n in before if n.startswith(part) and not torch.equal(before[n], after[n])}


def of(history, part):
    return {n for n in history[0] if n.startswith(part)}


def test_encoder_never_moves_and_trunk_waits_for_freeze_steps(
    parent, manifests, tmp_path, monkeypatch
):
    """Steps 1 to 3 train the head alone, 4 to 6 all but the waveform encoder."""
    run = {"steps": 6, "eval_steps": 1}
    config = finetune_config(tmp_path, manifests, init=str(parent), freeze_steps=3, run=run)
    history = weights_of_every_step(config, monkeypatch)
    assert len(history) == 6
    given = open_model(parent).weights
    trunk, encoder = of(history, "trunk."), of(history, "trunk.encoder.")
    assert len(encoder) == 8
    for step in (0, 1, 2):
        assert all(torch.equal(history[step][name], given[name]) for name in trunk)
    for before, after in pairwise(history):
        assert moved(before, after, "head.") == {"head.weight", "head.bias"}
    for step in (3, 4, 5):
        assert moved(history[step - 1], history[step], "trunk.") == trunk - encoder
    assert all(torch.equal(history[5][name], given[name]) for name in encoder)


def test_the_encoder_moves_if_it_shall(parent, manifests, tmp_path, monkeypatch):
    changes = {"freeze_encoder": False, "run": {"steps": 2, "eval_steps": 1}}
    config = finetune_config(tmp_path, manifests, init=str(parent), **changes)
    history = weights_of_every_step(config, monkeypatch)
    assert moved(*history, "trunk.") == of(history, "trunk.")


def test_without_init_everything_trains_at_once(manifests, tmp_path, monkeypatch):
    """Also with freezing asked for: there is nothing worth keeping."""
    run = {"steps": 2, "eval_steps": 1}
    config = finetune_config(tmp_path, manifests, freeze_steps=99, run=run)
    history = weights_of_every_step(config, monkeypatch)
    assert moved(*history, "trunk.") == of(history, "trunk.")


@pytest.mark.parametrize("norm", ["group", "layer"])
def test_the_raw_waveform_models_fine_tune_with_a_frozen_encoder(manifests, tmp_path, norm):
    torch.manual_seed(0)
    model = Wav2Vec2Pretraining(small_convolutional(norm))
    save_model(tmp_path / "parent", "pretraining", model, model.config, ["xx"])
    config = finetune_config(
        tmp_path / "run", manifests, init=str(tmp_path / "parent"), run={"steps": 2}
    )
    finetune(config)
    weights, given = open_model(tmp_path / "run" / "final").weights, model.state_dict()
    for name, tensor in weights.items():
        if name.startswith("trunk."):
            assert torch.equal(tensor, given[name]) == name.startswith("trunk.encoder."), name


@pytest.fixture(scope="module")
def spelled(tmp_path_factory, manifests):
    """A model that learned the four tones from scratch."""
    from speechx.config import merge

    model = merge(
        to_dict(small_filterbank()),
        {
            "encoder": {"gradient_scale": 1.0}, "input_dropout": 0.0,
            "transformer": {
                "width": 32, "inner": 64, "dropout": 0.0, "attention_dropout": 0.0,
                "activation_dropout": 0.0,
            },
        },
    )  # fmt: skip
    out = tmp_path_factory.mktemp("spelled") / "run"
    config = finetune_config(
        out, manifests, model=model, head_dropout=0.0, optim={"rate": 0.01},
        time_masking={"probability": 0.1, "span": 3}, channel_masking={"probability": 0.0},
        run={"steps": 120, "eval_steps": 30, "save_steps": 120},
    )  # fmt: skip
    return config, finetune(config)


def test_it_learns_to_spell(spelled):
    """From scratch: the character error on recordings it never heard falls below 10 %."""
    config, best = spelled
    log = read_log(config.out)
    errors = [line["dev_cer"] for line in log if "dev_cer" in line]
    assert len(errors) == 4
    assert min(errors) < 0.1
    losses = [line["loss"] for line in log if "loss" in line]
    assert np.mean(losses[-5:]) < 0.2 * np.mean(losses[:5])
    last = [line for line in log if "dev_cer" in line][-1]
    assert {"dev_cer/xx", "dev_cer/yy", "said", "heard"} <= set(last)
    assert best == config.out / "best"
    assert float((config.out / "best_error.txt").read_text()) == min(errors)


def test_it_starts_near_the_constant_predictor_and_below_an_even_head(tmp_path, manifests):
    """Every frame is read as blank, and the loss is far from that of a head without a prior."""
    task = task_for(finetune_config(tmp_path, manifests))
    torch.manual_seed(0)
    model = CTC(task.config.model, len(LETTERS)).eval()
    batch = labelled_batch([16_000, 13_000], [[1, 2, 3, 4, 1], [2, 2, 1]])
    summaries = []
    for _ in ("as it starts", "even"):
        with torch.no_grad():
            sums = task.sums(model, task.prepare(batch, 0), 0)
            model.head.bias.zero_()
        summaries.append(task.summary({k: float(v) for k, v in sums.metrics.items()}))
    fresh, even = summaries
    assert fresh["blank_share"] == 1
    assert even["blank_share"] < 0.9
    assert fresh["loss"] < 0.6 * even["loss"]


def test_the_model_folder_opens_without_its_parent_and_hears(spelled, manifests):
    config, best = spelled
    assert load_config(config.out / "config.yaml") == config
    saved = open_model(best, "ctc")
    assert saved.vocabulary == LETTERS
    model = CTC(saved.config, len(saved.vocabulary)).eval()
    load_weights(model, saved.weights, str(best))
    dev = read_manifest(manifests[1])
    with torch.no_grad():
        heard = transcripts(model, dev, config, saved.vocabulary, HERE)
        alone = [transcripts(model, [u], config, saved.vocabulary, HERE)[0] for u in dev]
    assert heard == alone  # whatever they are batched with
    wrong = sum("".join(units) != u.text for units, u in zip(heard, dev, strict=True))
    assert wrong <= 2


def test_a_resumed_run_keeps_its_units(manifests, tmp_path):
    """Another corpus under the same path: a row of the head must not come to mean another unit."""
    utterances = read_manifest(manifests[0])
    mine = tmp_path / "mine.jsonl"
    write_manifest(mine, utterances)
    run = {"steps": 2, "save_steps": 1}
    config = finetune_config(tmp_path / "run", (mine, manifests[1]), run=run)
    finetune(config)
    other = [replace(u, text=(u.text or "").replace("b", "z")) for u in utterances]
    write_manifest(mine, other)
    with pytest.raises(UserError, match=r"other units than the run began with \(2 differ: b z\)"):
        finetune(config, resume=True)


@pytest.mark.parametrize("stop", [2, 5])
def test_a_killed_run_resumes_with_bit_equal_losses_across_the_freeze(
    parent, manifests, tmp_path, stop
):
    """Frozen for 4 of 8 steps, states every 2 steps; killed before or after the thaw."""

    def config(name):
        return finetune_config(
            tmp_path / name, manifests, init=str(parent), freeze_steps=4,
            model={"transformer": {"layer_drop": 0.3}},
            run={"steps": 8, "eval_steps": 3, "save_steps": 2},
        )  # fmt: skip

    killed = start(run_job, "finetune", config("killed"), False, stop, True)
    finetune(config("whole"))
    assert finish(killed) == [-9]
    finetune(config("killed"), resume=True)
    whole, resumed = (read_log(tmp_path / name) for name in ("whole", "killed"))
    assert [line["step"] for line in whole if "loss" in line] == list(range(1, 9))
    assert resumed == whole
    for folder in ("final", "best"):
        weights, others = (open_model(tmp_path / n / folder).weights for n in ("whole", "killed"))
        for name, tensor in weights.items():
            assert torch.equal(others[name], tensor), name
    errors = [(tmp_path / n / "best_error.txt").read_text() for n in ("whole", "killed")]
    assert errors[0] == errors[1]


def task_for(config, dev=(), resume=False):
    config.out.mkdir(parents=True, exist_ok=True)
    return Finetuning(config, LETTERS, dev, ["xx"], HERE, resume)


def test_best_is_the_lowest_error_and_final_the_newest(tmp_path, manifests):
    config = finetune_config(tmp_path, manifests)
    model = CTC(config.model, len(LETTERS))
    task = task_for(config)
    for step, error in enumerate([0.5, 0.3, 0.4], start=1):
        with torch.no_grad():
            model.head.bias.fill_(step)
        task.keep(model, step, {"dev_cer": error})
    assert open_model(tmp_path / "best").weights["head.bias"][0] == 2
    assert open_model(tmp_path / "final").weights["head.bias"][0] == 3
    resumed = task_for(config, resume=True)
    assert resumed.best == 0.3
    resumed.keep(model, 4, {"dev_cer": 0.35})
    assert open_model(tmp_path / "best").weights["head.bias"][0] == 2
    assert task_for(config).best == float("inf")  # a run begun afresh has no best yet


def test_a_run_killed_as_it_writes_its_best_writes_it_again(tmp_path, manifests, monkeypatch):
    config = finetune_config(tmp_path, manifests)
    model = CTC(config.model, len(LETTERS))

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("speechx.finetuning.save_model", killed)
        with pytest.raises(KeyboardInterrupt):
            task_for(config).keep(model, 1, {"dev_cer": 0.2})
    task_for(config, resume=True).keep(model, 1, {"dev_cer": 0.2})
    assert open_model(tmp_path / "best").kind == "ctc"


def labelled_batch(lengths, targets):
    width = max(*lengths, 1)
    return Batch(
        position=Position(0, 3, 3),
        wave_BS=torch.randn(len(lengths), width),
        lengths_B=torch.tensor(lengths),
        ids=tuple(map(str, range(len(lengths)))),
        languages=("xx",) * len(lengths),
        targets_BU=torch.nn.utils.rnn.pad_sequence(
            [torch.tensor(t) for t in targets], batch_first=True
        ),
        units_B=torch.tensor([len(t) for t in targets]),
    )


@pytest.mark.parametrize("make", [small_filterbank, small_convolutional])
@pytest.mark.parametrize("lengths", [[16_000, 9000, 3], [3, 2]])
def test_recordings_too_short_for_a_frame_are_counted_and_harm_nobody(
    tmp_path, manifests, make, lengths
):
    config = finetune_config(tmp_path, manifests, model=to_dict(make()))
    task = task_for(config)
    torch.manual_seed(0)
    model = CTC(config.model, len(LETTERS))
    batch = labelled_batch(lengths, [[1, 2], [3], [4]][: len(lengths)])
    sums = task.sums(model, task.prepare(batch, 0), 0)
    sums.loss.backward()
    short = sum(length < 400 for length in lengths)
    assert int(sums.metrics["infeasible"]) == short
    assert task.summary({k: float(v) for k, v in sums.metrics.items()})["infeasible"] == short
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    assert sums.loss.isfinite()


def test_masks_stay_within_the_true_frames_and_are_drawn_by_batch(tmp_path, manifests):
    config = finetune_config(tmp_path, manifests, time_masking={"probability": 0.65, "span": 5})
    task = task_for(config)
    batch = labelled_batch([16_000, 6000], [[1], [2]])
    one, again, other = (
        task.prepare(replace(batch, position=Position(0, number, number)), step)
        for number, step in ((3, 0), (3, 7), (4, 0))
    )
    assert torch.equal(one.time_BT, again.time_BT)
    assert torch.equal(one.channels_BD, again.channels_BD)
    assert not torch.equal(one.time_BT, other.time_BT)
    frames = config.model.encoder.frames(6000)
    assert one.time_BT[1, :frames].any()
    assert not one.time_BT[1, frames:].any()
    assert one.channels_BD.shape == (2, config.model.transformer.width)
    assert one.targets == 2
    off = finetune_config(
        tmp_path, manifests, time_masking={"probability": 0}, channel_masking={"probability": 0}
    )
    plain = task_for(off).prepare(batch, 0)
    assert (plain.time_BT, plain.channels_BD) == (None, None)


def test_labels_longer_than_frames_are_left_out_of_the_run_and_listed(manifests, tmp_path, capsys):
    train = read_manifest(manifests[0])
    many = [replace(train[n % len(train)], id=f"{n}") for n in range(150)]
    write_manifest(tmp_path / "train.jsonl", [*many, replace(train[0], id="long", text="ab" * 99)])
    config = finetune_config(
        tmp_path / "run", (tmp_path / "train.jsonl", manifests[1]), run={"steps": 1}
    )
    finetune(config)
    assert "1 of 151 utterances have labels longer than their frames" in capsys.readouterr().err
    listed = (tmp_path / "run" / "too_long.tsv").read_text().splitlines()
    frames = config.model.encoder.frames(round(train[0].duration * 16_000))
    assert listed[1:] == [f"long\t{frames}\t198"]


def test_a_fine_tuned_model_passes_on_the_rows_of_units_that_both_know(tmp_path):
    torch.manual_seed(0)
    old = CTC(small_filterbank(), len(LETTERS))
    torch.nn.init.normal_(old.head.weight)
    save_model(tmp_path / "old", "ctc", old, old.trunk.config, ["xx"], LETTERS)
    vocabulary = Vocabulary("characters", ("b", "d", "z"))
    new = CTC(small_filterbank(), len(vocabulary))
    fresh = new.head.weight[3].detach().clone()
    report = start_from(new, open_model(tmp_path / "old"), vocabulary)
    assert "head rows of 2 of 3 units and the blank" in report
    for row, before in ((0, 0), (1, 2), (2, 4)):
        assert torch.equal(new.head.weight[row], old.head.weight[before])
        assert torch.equal(new.head.bias[row], old.head.bias[before])
    assert torch.equal(new.head.weight[3], fresh)
    assert torch.equal(new.trunk.project.weight, old.trunk.project.weight)


def test_units_of_dev_that_are_never_trained_are_named(manifests, tmp_path, capsys):
    dev = read_manifest(manifests[1])
    write_manifest(tmp_path / "dev.jsonl", [replace(dev[0], text="abzß"), *dev[1:]])
    config = finetune_config(
        tmp_path / "run", (manifests[0], tmp_path / "dev.jsonl"), run={"steps": 1}
    )
    finetune(config)
    assert "2 units of dev are never trained and count as errors: z ß" in capsys.readouterr().err


def test_languages_of_dev_that_are_never_trained_are_named(manifests, tmp_path, capsys):
    dev = read_manifest(manifests[1])
    write_manifest(tmp_path / "dev.jsonl", [replace(dev[0], language="es"), *dev[1:]])
    said = "data.dev has languages that data.train has not: es; the best model is chosen by"
    for name, file in (("same", manifests[1]), ("other", tmp_path / "dev.jsonl")):
        run = {"steps": 1}
        finetune(finetune_config(tmp_path / name, (manifests[0], file), run=run))
        assert (said in capsys.readouterr().err) == (name == "other")


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_long_recording_is_refused_before_it_is_one_row(split, manifests, tmp_path, capsys):
    """An hour with a text beside it seemed to hang: attention over all of it."""
    at = ("train", "dev").index(split)
    first, *others = read_manifest(manifests[at])
    hour = replace(first, id="lecture", duration=3600.0)
    unlabelled = replace(first, id="silent", duration=7200.0, text=None)
    write_manifest(tmp_path / "m.jsonl", [hour, replace(first, duration=61.0), unlabelled, *others])
    paths = [*manifests[:at], tmp_path / "m.jsonl", *manifests[at + 1 :]]
    with pytest.raises(UserError) as error:
        finetune(finetune_config(tmp_path / "run", paths))
    count = len(others) + 2
    assert f"2 of {count} utterances of data.{split} are longer than data.max_seconds = 60" in str(
        error.value
    )
    assert f"the longest is lecture of 3600.0 s ({first.audio}): cut it by times" in str(
        error.value
    )
    write_exclusions(tmp_path / "long.tsv", [Exclusion("", first.language, "lecture")])
    data = {"exclude": [str(tmp_path / "long.tsv")]}
    with pytest.raises(UserError, match=f"1 of .*the longest is {first.id} of 61"):
        finetune(finetune_config(tmp_path / "run2", paths, data=data))
    with pytest.raises(UserError, match="max_seconds must be above 0, but is 0"):
        finetune_config(tmp_path, manifests, data={"max_seconds": 0})


def test_how_long_is_too_long_can_be_set(manifests, tmp_path):
    with pytest.raises(UserError, match=r"longer than data\.max_seconds = 0\.1"):
        finetune(finetune_config(tmp_path, manifests, data={"max_seconds": 0.1}))


def test_two_manifests_may_use_the_same_ids(tmp_path):
    """Each language numbers its utterances from 1; labels must stay with their audio."""
    random = np.random.default_rng(0)
    paths = []
    for language, letters in (("xx", "abab"), ("yy", "ccdd")):
        write_wav(tmp_path / language / "1.wav", tone_wave(letters, random))
        line = f'{{"id": "1", "audio": "1.wav", "duration": 0.72, "language": "{language}", '
        (tmp_path / language / "all.jsonl").write_text(line + f'"text": "{letters}"}}\n')
        paths.append(str(tmp_path / language / "all.jsonl"))
    config = finetune_config(
        tmp_path / "run", (tmp_path, tmp_path), data={"train": paths, "dev": paths},
        run={"steps": 1, "batch_seconds": 2, "device_seconds": 2},
    )  # fmt: skip
    seen = []

    def watch(self, batch, step):
        seen.append(batch)
        return prepare(self, batch, step)

    prepare = Finetuning.prepare
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Finetuning, "prepare", watch)
        finetune(config)
    (batch,) = seen
    spoken = {
        language: LETTERS.join(LETTERS.decode(ids.tolist()))
        for language, ids in zip(batch.languages, batch.targets_BU, strict=True)
    }
    assert spoken == {"xx": "abab", "yy": "ccdd"}


def test_phonemes_and_plain_keywords(manifests, tmp_path):
    best = finetune(
        out=tmp_path / "run",
        units="phonemes",
        model=to_dict(small_filterbank()),
        data={"train": [manifests[0]], "dev": [manifests[1]], "limit_minutes": 0.2},
        run={"steps": 1, "batch_seconds": 4, "device_seconds": 4, "device": "cpu"},
    )
    assert open_model(best).vocabulary.kind == "phonemes"
    assert "dev_per" in read_log(tmp_path / "run")[-1]


def test_lists_of_what_to_leave_out_are_honoured(manifests, tmp_path, capsys):
    train, dev = (read_manifest(path) for path in manifests)
    gone = [Exclusion("", u.language, u.id) for u in (train[2], dev[0])]
    write_exclusions(tmp_path / "exclude.tsv", gone)
    data = {"exclude": [str(tmp_path / "exclude.tsv")], "corpus_alpha": 0.5}
    finetune(finetune_config(tmp_path / "run", manifests, data=data, run={"steps": 1}))
    err = capsys.readouterr().err
    assert "finetune: exclude.tsv leaves out 2 utterances (0.00090 h)\n" in err
    assert "finetune: 15 utterances" in err


def test_batches_keep_to_their_seconds(manifests, tmp_path, monkeypatch):
    seen = []

    def stop_after_some(name, model, task, batches, *rest):
        seen.extend(islice(batches(Position()), 12))

    monkeypatch.setattr("speechx.finetuning.train", stop_after_some)
    finetune(finetune_config(tmp_path, manifests))
    for batch in seen:
        assert batch.wave_BS.numel() / 16_000 <= 5.0
    assert {language for batch in seen for language in batch.languages} == {"xx", "yy"}


def test_speeds_change_from_epoch_to_epoch_and_batches_still_fit(manifests, tmp_path, monkeypatch):
    seen = []

    def stop_after_some(name, model, task, batches, *rest):
        seen.extend(islice(batches(Position()), 40))

    monkeypatch.setattr("speechx.finetuning.train", stop_after_some)
    config = finetune_config(tmp_path, manifests)
    finetune(replace(config, data=replace(config.data, speed=(0.85, 1.15))))
    lengths = {}
    for batch in seen:
        assert batch.wave_BS.numel() / 16_000 <= 5.01
        for id, language, length in zip(batch.ids, batch.languages, batch.lengths_B, strict=True):
            lengths.setdefault((language, id), set()).add(int(length))
    ratios = [max(some) / min(some) for some in lengths.values() if len(some) > 2]
    assert ratios
    assert 1.01 < max(ratios) <= 1.15 / 0.85 * 1.001


@pytest.mark.parametrize("speed", [[1.1, 0.9], [0.2, 1.0], [1.0, 3.0]])
def test_impossible_speeds_are_refused(speed, manifests, tmp_path):
    with pytest.raises(UserError, match=r"speed must be two numbers from 0\.5 to 2"):
        finetune_config(tmp_path, manifests, data={"speed": speed})


def test_mistakes_are_one_line(parent, manifests, tmp_path):
    with pytest.raises(UserError, match=r"model .*nowhere does not exist"):
        finetune_config(tmp_path, manifests, init=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"holds no model: expected config\.yaml"):
        finetune_config(tmp_path, manifests, init=str(tmp_path))
    with pytest.raises(UserError, match=r"does not fit this model: .* of another shape"):
        finetune(
            finetune_config(
                tmp_path, manifests, init=str(parent), model={"transformer": {"inner": 32}}
            )
        )
    with pytest.raises(UserError, match="holds no saved state"):
        finetune(finetune_config(tmp_path / "new", manifests), resume=True)
