"""A `.pt` file is data: old settings become plain dictionaries, and nothing in it is run."""

from __future__ import annotations

import argparse
import base64
import builtins
import enum
import io
import os
import pickle
import sys
import tarfile
import time
import zipfile
import zlib
from collections import OrderedDict, defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from speechx.errors import UserError
from speechx.interchange.pickles import Record, plain, read_pickle


class Call:
    """An object whose pickle calls a function when it is read."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def archive(path, payload):
    """A file of torch.save with this pickle in it."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", payload)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/byteorder", "little")
    return path


@pytest.fixture(params=["zip", "legacy"])
def save(request, tmp_path):
    def write(content, name="model.pt"):
        path = tmp_path / name
        torch.save(content, path, _use_new_zipfile_serialization=request.param == "zip")
        return path

    return write


def test_tensors_of_all_kinds_come_back_exactly(save):
    whole = torch.randn(6, 4)
    content = {
        "model": OrderedDict(
            a=whole,
            view=whole[2:, 1:3],
            turned=whole.T,
            half=torch.randn(3).half(),
            brain=torch.randn(3).bfloat16(),
            count=torch.tensor(7),
            parameter=torch.nn.Parameter(torch.randn(2)),
            empty=torch.zeros(0, 3),
        ),
        "step": 3,
    }
    read = read_pickle(save(content))
    assert type(read["model"]) is dict
    assert read["step"] == 3
    for name, tensor in content["model"].items():
        assert torch.equal(read["model"][name], tensor), name
        assert read["model"][name].dtype == tensor.dtype
        assert not read["model"][name].requires_grad


def test_argparse_and_other_objects_become_plain_data(save):
    args = argparse.Namespace(arch="wav2vec2", rate=0.5, w2v_args=argparse.Namespace(layers=[1]))
    content = {
        "args": args,
        "extra_state": {"loss": np.float64(3), "best": defaultdict(int, {"x": 1})},
        "where": Path("model.pt"),
        "bytes": b"abc",
    }
    read = read_pickle(save(content))
    assert read["args"] == {"arch": "wav2vec2", "rate": 0.5, "w2v_args": {"layers": [1]}}
    assert read["extra_state"] == {"loss": None, "best": {"x": 1}}
    assert read["bytes"] == b"abc"


@pytest.fixture
def foreign(monkeypatch):
    """Modules of omegaconf and fairseq that are there when the file is written, and then gone."""
    made = {}

    def module(name, **members):
        made[name] = ModuleType(name)
        for key, member in members.items():
            member.__module__ = name
            member.__qualname__ = key
            setattr(made[name], key, member)
        monkeypatch.setitem(sys.modules, name, made[name])

    class DictConfig:
        def __init__(self, content):
            self.__dict__.update(
                _metadata=None, _parent=None, _content={k: AnyNode(v, self) for k, v in content}
            )

    class ListConfig:
        def __init__(self, content):
            self._content = [AnyNode(v, self) for v in content]

    class AnyNode:
        def __init__(self, value, parent):
            self._val, self._parent = value, parent

    class Mode(enum.Enum):
        layer_norm = "layer_norm"

    class Dictionary:
        def __init__(self):
            self.symbols, self.indices = ["<s>", "a"], {"<s>": 0, "a": 1}

    module("omegaconf")
    module("omegaconf.dictconfig", DictConfig=DictConfig)
    module("omegaconf.listconfig", ListConfig=ListConfig)
    module("omegaconf.nodes", AnyNode=AnyNode)
    module("fairseq")
    module("fairseq.choices", Mode=Mode)
    module("fairseq.data.dictionary", Dictionary=Dictionary)
    return argparse.Namespace(
        DictConfig=DictConfig, ListConfig=ListConfig, Mode=Mode, Dictionary=Dictionary
    )


def test_omegaconf_enums_and_dictionaries_of_fairseq_need_neither_package(save, foreign):
    config = foreign.DictConfig(
        [("mode", foreign.Mode.layer_norm), ("temp", foreign.ListConfig([2, 0.5]))]
    )
    path = save({"cfg": config, "task_state": {"target_dictionary": foreign.Dictionary()}})
    for name in [n for n in sys.modules if n.startswith(("omegaconf", "fairseq."))]:
        del sys.modules[name]
    read = read_pickle(path)
    assert read["cfg"] == {"mode": "layer_norm", "temp": [2, 0.5]}
    assert read["task_state"]["target_dictionary"]["symbols"] == ["<s>", "a"]


OMEGACONF = (  # written by omegaconf 2.0.6; compressed, in base 85
    "c-m!DSy$6Q6mHoY5S2wxQ9)c%#ad9@P!T~8fg*8>EXHX%?G2;}H%amEFz4ul9DVXX`K<rMbA0mMI}@TTeY%s({kD"
    "74k9D?R<rQZ8UO88C>_`?)MVq2>GA=Qd{e)?Ob-I~JrBYUvN36smhV^?|i!9_CHAKwuc(Aa0MZ*T_Z4}s~n=RBE@"
    "Uj(cZ*pw5Evr~_+{p1POOw1BwwSGS#V@XNJBn{*3aZQBj2z!%E^1%QdOC0LZEP)=jZ~IhRtd39;1RQ3;fKDv#RJP"
    "`HgIgWZQpeXj@m=5#LKMaMlsn@X!(rC3_PwF2r*{tD41<@<}R;tZ&yWUp;k1TrSnY|&{OP+Wm#lAlIL!LCv+u8Dy"
    "?D<$i#XDp46cpWCEuIp4Oq+E;A<xIp$<Gw#&jW7snlHi?UP0KFB~HXkVZedVp-5fp$<*&l-3RItn1gKo_KeNc&^b"
    "B845|z@A~aPMFMbp2}p7=Sj(+zzd10ivll6RhGZW0~Yy#R^gEoanf<wChLwD_iL!{8&}!&89mJI;1vU}LT2AfS2Y"
    "ZQ_LV#gNDtQ%4><#`L&yHxK5<|kIw7lk^+NX=4(ofocz%h8+O(uBP^sYvDZe4`Cb>AcfB)BRlrG&8c$@4&mNLz%O"
    "y^Qk&z(fiT?6ka)<LsD&U1@aY;0!y*AMyoNpB?8eSr^TU=s16!0`i!X^HqKL7Xt~af}EA^m|qR^Znaut;lJC<fJ@"
    "S<snY0^_UX)BpJlCz!{1AFZC(4qfhrmRr4HM1uzTw9elQfa|X^srVuARDRnF)Itm6ZLI=!JuK6TafzQn}iD0;NDB"
    "f9G<O&bsfDKagLg359^(%p|rMf)1&d0mCB-!31Y^H&470VQi&82I_knGCu^ux#&E`!{<6@jaX*)@Uhlv&WF5zD~$"
    "1UwW2FH2yS02d9k$wq#!4ch-2;WrV!%eHwCV(E~b32!^L!ildeu##8-fsWkx-I(c~hU+RrNnVoV8wt5<V0HIf8&i"
    "KSEBfg0$WZ@qeyD#myM~?;lKTrgy0Iz"
)


def test_what_omegaconf_itself_writes_for_typed_lists_and_dictionaries(tmp_path):
    """The type of a field `betas: List[float]` is a call of `_operator.getitem` there."""
    payload = zlib.decompress(base64.b85decode("".join(OMEGACONF)))
    assert b"c_operator\ngetitem" in payload
    path = archive(tmp_path / "model.pt", payload)
    optim = {"betas": [0.9, 0.98], "names": {"a": 1}, "w2v": None}
    assert read_pickle(path) == {"optim": optim, "layers": "[(512, 10, 5)]"}


@pytest.mark.parametrize("module", [b"_operator", b"operator"])
def test_the_getitem_of_a_type_takes_no_item(tmp_path, module):
    """On an empty dictionary the real one would fail."""
    path = archive(tmp_path / "model.pt", b"c" + module + b"\ngetitem\n(}U\x01atR.")
    assert read_pickle(path) is None


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (Call(os.system, "touch ran"), f"{os.system.__module__}.system"),
        (Call(builtins.eval, "1/0"), "builtins.eval"),
        (Call(getattr, "x", "join"), "builtins.getattr"),
        (Call(builtins.__import__, "os"), "builtins.__import__"),
        (Call(torch.load, "x.pt"), "torch.serialization.load"),
        (Call(torch.hub.load, "a", "b"), "torch.hub.load"),
    ],
)
def test_a_file_that_would_run_something_is_refused_by_its_name(
    save, call, named, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = save({"model": {"a": torch.zeros(2)}, "args": call})
    with pytest.raises(UserError, match=f"asks for {named}"):
        read_pickle(path)
    assert not (tmp_path / "ran").exists()


def test_a_dotted_name_does_not_reach_through_a_known_module(tmp_path):
    """Protocol 4 lets a global be `torch` + `serialization.os.system`."""
    payload = b"\x80\x04\x8c\x05torch\x8c\x17serialization.os.system\x93\x8c\x04true\x85R."
    path = archive(tmp_path / "model.pt", payload)
    with pytest.raises(UserError, match=r"asks for torch\.serialization\.os\.system"):
        read_pickle(path)


def test_a_tensor_larger_than_its_storage_is_refused(save):
    class Beyond:
        def __reduce__(self):
            storage = torch.zeros(4)._typed_storage()
            return torch._utils._rebuild_tensor_v2, (storage, 2, (3,), (1,), False, OrderedDict())

    with pytest.raises(UserError, match="beyond its storage"):
        read_pickle(save({"a": Beyond()}))


def doubled(times, a):
    for _ in range(times):
        a = [a, a]
    return a


def test_what_is_shared_is_translated_once():
    shared = doubled(19, {"layers": (1, 2)})
    start = time.perf_counter()
    read = plain({"a": shared, "b": shared})
    seconds = time.perf_counter() - start
    print(f"5 million values that share 20 lists: {seconds * 1e3:.2f} ms")
    assert seconds < 0.5
    assert read["a"] is read["b"]
    for _ in range(19):
        assert read["a"][0] is read["a"][1]
        read["a"] = read["a"][0]
    assert read["a"] == {"layers": [1, 2]}


def test_objects_that_are_alike_are_not_taken_for_one_another():
    """Their contents are made on the way and must not share an id."""
    records = [Record() for _ in range(1000)]
    for number, record in enumerate(records):
        record.state = ({"a": number}, {"b": [number]})
    assert plain(records) == [{"a": n, "b": [n]} for n in range(1000)]


@pytest.mark.parametrize("times", [24, 45])
def test_more_than_can_be_written_out_is_refused(save, times):
    with pytest.raises(UserError, match="its settings repeat themselves more than"):
        read_pickle(save({"args": doubled(times, [])}))


def test_what_holds_itself_ends_there():
    loop = [1]
    loop += [loop, {"again": loop}]
    assert plain(loop) == [1, None, {"again": None}]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
def test_a_truncated_file_is_said_to_be_one(save, share):
    path = save({"model": {str(i): torch.randn(40, 40) for i in range(20)}})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match="truncated or no file of torch"):
        read_pickle(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "model.pt"
    path.write_text("hello, this is not a checkpoint\n")
    with pytest.raises(UserError, match="no file of torch"):
        read_pickle(path)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="no file of torch"):
        read_pickle(path)
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match="no file of torch"):
        read_pickle(path)
    with pytest.raises(UserError, match="does not exist"):
        read_pickle(tmp_path / "nothing.pt")
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with pytest.raises(UserError, match="tar format"):
        read_pickle(path)


def test_a_program_is_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "model.pt"))
    with pytest.raises(UserError, match="TorchScript"):
        read_pickle(tmp_path / "model.pt")
