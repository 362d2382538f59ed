"""What is learned. A new objective is one file, its import and its config in the union below."""

from typing import TypeAlias

from speechx.objectives.articulatory import ArticulatoryConfig
from speechx.objectives.ctc import CTCConfig
from speechx.objectives.language_id import LanguageIDConfig
from speechx.objectives.wav2vec2 import Wav2Vec2Config

AnyObjective: TypeAlias = Wav2Vec2Config | CTCConfig | ArticulatoryConfig | LanguageIDConfig

PRETRAINING, FINETUNING = "wav2vec2", "ctc"  # the kinds that the two commands train by default
