"""What is learned. A new objective is one file, its import and its config in the union below."""

from typing import TypeAlias

from speechx.objectives.articulatory import ArticulatoryConfig
from speechx.objectives.best_rq import BestRQConfig
from speechx.objectives.cpc import CPCConfig
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.language_id import LanguageIDConfig
from speechx.objectives.masked_autoencoding import MaskedAutoencodingConfig
from speechx.objectives.unispeech import UniSpeechConfig
from speechx.objectives.w2v_bert import W2vBertConfig
from speechx.objectives.wav2vec import Wav2VecConfig
from speechx.objectives.wav2vec2 import Wav2Vec2Config

AnyObjective: TypeAlias = (
    Wav2Vec2Config
    | CPCConfig
    | Wav2VecConfig
    | BestRQConfig
    | W2vBertConfig
    | MaskedAutoencodingConfig
    | UniSpeechConfig
    | CTCConfig
    | ArticulatoryConfig
    | LanguageIDConfig
)

PRETRAINING, FINETUNING = "wav2vec2", "ctc"  # the kinds that the two commands train by default
