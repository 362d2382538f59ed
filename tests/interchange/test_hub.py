"""Models by the name that they have on the Hugging Face Hub, from a server that stands in for it,
and from the cache alone."""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import speechx
from speechx.cli.main import main
from speechx.errors import UserError
from speechx.interchange import hugging_face, proof
from speechx.interchange.hub import EVERY, hub_id, local_path, published_name, wanted
from speechx.interchange.opening import open_model
from speechx.models.folder import open_folder
from tests.conftest import small_convolutional
from tests.interchange.hub_server import COMMIT, Hub, Repo, running_hub
from tests.toy_models import toy_model

pytest.importorskip("huggingface_hub")
ID = "field/tiny-asr"
OTHER = "f" * 40


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a model in the format of transformers, and some that nobody reads."""
    folder = tmp_path_factory.mktemp("theirs")
    ours = toy_model(folder / "ours", encoder=small_convolutional())
    (folder / "hf").mkdir()
    hugging_face.write(open_folder(ours), folder / "hf")
    unread = {"flax_model.msgpack": b"0" * 999, "README.md": b"# tiny", ".gitattributes": b""}
    return {**{p.name: p.read_bytes() for p in (folder / "hf").iterdir()}, **unread}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """An empty hub, an empty cache and an empty working directory."""
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    with running_hub() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def lay_out(home: Path, files: dict[str, bytes], commit: str = COMMIT) -> Path:
    """Fills the cache as huggingface_hub does."""
    model = home / "hub" / "models--field--tiny-asr"
    snapshot = model / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    for name, content in files.items():
        (snapshot / name).write_bytes(content)
    return snapshot


def one_line(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("facebook/mms-1b-all", ("facebook/mms-1b-all", "main")),
        ("facebook/wav2vec2-xls-r-300m@v1.0", ("facebook/wav2vec2-xls-r-300m", "v1.0")),
        (f"a/b@{COMMIT}", ("a/b", COMMIT)),
        ("a/b@refs/pr/3", ("a/b", "refs/pr/3")),
        ("a/b@feature/new-head", ("a/b", "feature/new-head")),
        ("a/b@feature/..", None),
        ("a/b@run/model.safetensors", None),
        ("mms-1b-all", None),
        ("runs/mine/best", None),
        ("/a/b", None),
        ("../b", None),
        ("~/b", None),
        ("models/xlsr_53_56k.pt", None),
        ("best/model.safetensors", None),
        ("a/b@", None),
        ("a/b c", None),
        ("a\n/b", None),
    ],
)
def test_what_has_the_shape_of_a_name_of_the_hub(text, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for given in (text, Path(text)):
        found = hub_id(given)
        assert (found and (found.repo, found.revision)) == expected


def test_a_path_that_exists_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy_model(tmp_path / "field" / "tiny-asr")
    assert local_path(ID) == Path(ID)
    assert speechx.load(ID, "cpu").transcribe(np.zeros(8000, np.float32)) is not None


def test_only_files_that_are_read_are_fetched_and_once(hub, theirs, caplog):
    hub.repos[ID] = Repo(theirs, {"license": "cc-by-nc-4.0"})
    with caplog.at_level(logging.INFO, "speechx"):
        saved = open_model(Path(ID))
    unread = {"flax_model.msgpack", "README.md", ".gitattributes"}
    assert sorted(hub.fetched()) == sorted(theirs.keys() - unread)
    assert hub.fetched()[-1] == "model.safetensors"
    size = sum(len(theirs[name]) for name in theirs.keys() - unread) / 1e6
    (line,) = (r.getMessage() for r in caplog.records if "download" in r.getMessage())
    assert f"{size:.1f} MB" in line
    assert "cc-by-nc-4.0" in line
    assert any(f"{ID}@{COMMIT}" in note for note in saved.notes)
    assert published_name(saved.folder) == f"{ID}@{COMMIT}"
    before = len(hub.fetched())
    again = open_model(ID)
    assert len(hub.fetched()) == before
    assert all(torch.equal(saved.weights[n], t) for n, t in again.weights.items())
    hub.requests.clear()
    open_model(f"{ID}@{COMMIT}")  # a commit cannot have changed
    assert hub.requests == []


def test_every_entrance_takes_a_name(hub, theirs, tmp_path, capsys, manifests, monkeypatch):
    monkeypatch.setattr(proof, "available", lambda _: False)  # transformers, which takes seconds
    hub.repos[ID] = Repo(theirs)
    wave = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    expected = open_model(ID).weights["objectives.ctc.head.weight"]
    assert speechx.load(ID, "cpu").transcribe(wave).model
    assert main(["convert", ID, str(tmp_path / "copy")]) == 0
    copied = open_folder(tmp_path / "copy").weights["objectives.ctc.head.weight"]
    assert torch.equal(copied, expected)
    assert f"{ID}@{COMMIT}" in capsys.readouterr().err
    from tests.conftest import finetune_config

    config = finetune_config(
        tmp_path / "run", manifests, init=ID, objective={"tokens": "characters"},
        run={"steps": 1, "eval_steps": 1},
    )  # fmt: skip
    assert (speechx.finetune(config) / "model.safetensors").is_file()
    assert f"{ID}@{COMMIT}" in capsys.readouterr().err


def test_our_own_folders_are_fetched_too(hub, tmp_path):
    ours = toy_model(tmp_path / "ours")
    hub.repos[ID] = Repo({p.name: p.read_bytes() for p in ours.iterdir()})
    saved = open_model(ID)
    assert saved.vocabularies == open_folder(ours).vocabularies
    assert "README.md" not in hub.fetched()


def test_weights_in_parts(hub, theirs, tmp_path):
    files = {n: b for n, b in theirs.items() if n != "model.safetensors"}
    (tmp_path / "whole").write_bytes(theirs["model.safetensors"])
    names, tensors = {}, load_file(tmp_path / "whole")
    for n in range(2):
        part = f"model-0000{n + 1}-of-00002.safetensors"
        some = dict(list(tensors.items())[n::2])
        names |= dict.fromkeys(some, part)
        save_file(some, tmp_path / part, metadata={"format": "pt"})
        files[part] = (tmp_path / part).read_bytes()
    files["model.safetensors.index.json"] = json.dumps({"weight_map": names}).encode()
    hub.repos[ID] = Repo(files)
    assert len(open_model(ID).weights) > 0
    del hub.repos[ID].files["model-00002-of-00002.safetensors"]
    shutil.rmtree(tmp_path / "home")
    with pytest.raises(UserError, match="of 00002 parts of its weights it has 1"):
        open_model(ID)


def test_older_weights_only_where_there_are_no_others():
    settings = ["config.json", "preprocessor_config.json"]
    old = "pytorch_model.bin"
    assert wanted([*settings, old, "tf_model.h5"])[1] == [old]
    assert wanted([*settings, old, "model.safetensors"])[1] == ["model.safetensors"]
    assert wanted(["README.md", "xlsr.pt", "dict.ltr.txt"]) == (["dict.ltr.txt"], ["xlsr.pt"])
    for nothing in ([*settings, "tf_model.h5"], ["a.pt", "b.pt"], []):
        with pytest.raises(UserError, match="expected"):
            wanted(nothing)


def test_only_the_adapter_of_the_language():
    base = ["config.json", "vocab.json", "model.safetensors"]
    codes = ("yor", "deu", "uzb-script_cyrillic", "uzb-script_latin")
    files = [*base, *(f"adapter.{c}.{end}" for c in codes for end in ("safetensors", "bin"))]

    def adapters(language):
        return [name for name in wanted(files, language)[1] if "adapter" in name]

    assert adapters(None) == []
    assert adapters(EVERY) == [f"adapter.{c}.safetensors" for c in sorted(codes)]
    assert adapters("yor") == ["adapter.yor.safetensors"]
    assert adapters("German") == adapters("de") == ["adapter.deu.safetensors"]
    assert adapters("uzb-script_latin") == ["adapter.uzb-script_latin.safetensors"]
    assert len(adapters("uzb")) == 2
    with pytest.raises(UserError, match=r"yob.*of 4.*yor"):
        adapters("yob")
    ours = ["config.yaml", "model.safetensors", "adapters/yor.json", "adapters/yor.safetensors"]
    assert wanted(ours)[1] == ["model.safetensors", *ours[2:]]  # the only one


def test_an_adapter_that_the_cache_lacks_is_fetched_for_a_commit_too(hub, theirs):
    hub.repos[ID] = Repo(
        {**theirs, "adapter.yor.safetensors": b"1", "adapter.deu.safetensors": b"2"}
    )
    local_path(f"{ID}@{COMMIT}")
    assert (local_path(f"{ID}@{COMMIT}", "yor") / "adapter.yor.safetensors").is_file()
    assert (local_path(f"{ID}@{COMMIT}", EVERY) / "adapter.deu.safetensors").is_file()


def test_another_kind_of_model_is_refused_before_its_weights(hub, theirs):
    about = json.dumps({"model_type": "whisper"}).encode()
    hub.repos[ID] = Repo({**theirs, "config.json": about})
    with pytest.raises(UserError, match="whisper"):
        open_model(ID)
    assert "model.safetensors" not in hub.fetched()


def test_a_download_that_breaks_goes_on(hub, theirs, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    hub.repos[ID] = Repo(theirs)
    hub.breaks_after = len(theirs["model.safetensors"]) // 2
    said = ""
    try:
        open_model(ID)
    except UserError as error:  # huggingface_hub before 1.0; later ones go on by themselves
        said = str(error)
        open_model(ID)
    assert not said or "goes on from there" in said
    last = next(r for r in reversed(hub.requests) if r.startswith("GET"))
    assert int(last.split("bytes=")[1].rstrip("-")) > 1000


def test_without_network_the_cache_is_used(hub, theirs, tmp_path, monkeypatch, caplog):
    lay_out(tmp_path / "home", theirs)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with caplog.at_level(logging.INFO, "speechx"):
        saved = open_model(ID)
    assert hub.requests == []
    assert any(COMMIT in note for note in saved.notes)
    assert "HF_HUB_OFFLINE" in caplog.text
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.status = 503
    assert open_model(ID).folder == saved.folder
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert open_model(ID).folder == saved.folder


@pytest.mark.parametrize("offline", ["1", ""])
@pytest.mark.parametrize("cached", [(), ("config.json",)])
def test_without_network_and_cache_a_line_says_what_to_bring(
    hub, theirs, tmp_path, monkeypatch, offline, cached
):
    if cached:
        lay_out(tmp_path / "home", {name: theirs[name] for name in cached})
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError) as error:
        open_model(ID)
    text = one_line(error)
    for word in (ID, "config.json", "model.safetensors", "vocab.json", "--model FOLDER"):
        assert word in text
    assert ("incomplete" in text) == bool(cached)


def test_what_the_hub_refuses(hub, theirs, tmp_path):
    hub.repos[ID] = Repo(theirs, gated=True)
    with pytest.raises(UserError, match=r"accept.*hf auth login"):
        open_model(ID)
    with pytest.raises(UserError, match="no revision v9"):
        open_model(f"{ID}@v9")
    with pytest.raises(UserError, match=r"no public model.*HF_TOKEN"):
        open_model("field/unknown")
    hub.status = 404
    with pytest.raises(UserError, match="no public model"):
        open_model(ID)


def test_a_mistyped_path_is_told_apart(hub, tmp_path, capsys):
    toy_model(tmp_path / "runs" / "pretrain")
    assert main(["evaluate", "--model", "runs/pretrian", "--manifest", "none.jsonl"]) == 1
    assert "runs/pretrain?" in capsys.readouterr().err


def test_without_the_package(theirs, tmp_path, monkeypatch):
    import sys

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError) as error:
        open_model(ID)
    assert "speechx[hf]" in one_line(error)
    assert "model.safetensors" in str(error.value)


def test_a_full_disk_is_noticed_before(hub, theirs, monkeypatch):
    hub.repos[ID] = Repo(theirs)
    free = shutil._ntuple_diskusage(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    warnings.simplefilter("ignore")  # huggingface_hub warns of the disk, and goes on
    with pytest.raises(UserError, match="HF_HOME"):
        open_model(ID)
    assert "model.safetensors" not in hub.fetched()


def test_names_of_folders_that_are_not_of_the_hub():
    for path in ("runs/best", "best", "/a/snapshots/x", f"models--a--b/blobs/{COMMIT}"):
        assert published_name(path) == path


def test_a_branch_whose_name_has_a_slash(hub, theirs, monkeypatch):
    hub.repos[ID] = Repo(theirs, branch="feature/new-head")
    saved = open_model(f"{ID}@feature/new-head")
    assert published_name(saved.folder) == f"{ID}@{COMMIT}"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert open_model(f"{ID}@feature/new-head").folder == saved.folder


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://huggingface.co/facebook/mms-1b-all", "write facebook/mms-1b-all instead"),
        ("http://www.huggingface.co/a/b/", "write a/b instead"),
        ("huggingface.co/a/b/tree/main", "write a/b instead"),
        ("https://hf.co/a/b/tree/v1.0?x=1#top", "write a/b@v1.0 instead"),
        ("https://huggingface.co/a/b/tree/x%2Fy", "write a/b@x/y instead"),
        ("https://huggingface.co/a/b/blob/main/config.json", "write a/b instead"),
        ("https://huggingface.co/a/b/discussions/3", "write a/b instead"),
        ("hf://a/b", "write a/b instead"),
        ("https://huggingface.co/datasets/a/b", "expected OWNER/NAME"),
        ("https://huggingface.co/facebook", "expected OWNER/NAME"),
        ("https://example.org/files/model.pt", "expected OWNER/NAME"),
    ],
)
def test_the_address_of_a_page_is_answered_with_the_name(address, said, capsys, tmp_path):
    for given in (address, Path(address)):
        with pytest.raises(UserError, match=said):
            local_path(given)
    (tmp_path / "a.wav").touch()
    assert main(["convert", address, str(tmp_path / "new")]) == 1
    assert said in capsys.readouterr().err
