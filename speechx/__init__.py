"""speechx: multilingual speech self-supervised learning.

    import speechx

    model = speechx.load("runs/tiny/seen/best")
    print(model.transcribe("talk.wav").text)
    speechx.finetune(out="runs/mine", init="runs/pretrain/final", data=..., run={"steps": 2000})

Nothing heavy is imported before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from speechx.errors import UserError

if TYPE_CHECKING:
    from speechx.finetuning import finetune
    from speechx.pretraining import pretrain
    from speechx.transcription.feature_model import FeatureModel, load_encoder
    from speechx.transcription.loading import load
    from speechx.transcription.recognizer import Recognizer

__version__ = "0.1.0"
__all__ = [
    "FeatureModel", "Recognizer", "UserError", "finetune", "load", "load_encoder", "pretrain",
]  # fmt: skip

_HOME = {
    "finetune": "finetuning",
    "FeatureModel": "transcription.feature_model",
    "load": "transcription.loading",
    "load_encoder": "transcription.feature_model",
    "pretrain": "pretraining",
    "Recognizer": "transcription.recognizer",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'speechx' has no attribute {name!r}")
    return getattr(import_module(f"speechx.{_HOME[name]}"), name)
