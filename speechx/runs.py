"""One run, from its configuration to its model folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from speechx.config import override, read_yaml, source_of
from speechx.diagnostics.initial_check import check_restored
from speechx.evaluation import error_rates
from speechx.interchange.opening import open_model
from speechx.log import logger
from speechx.models.folder import SavedModel
from speechx.objectives.model import SpeechModel, start_from
from speechx.training.distributed import Ranks, distributed
from speechx.training.loop import Job, Task, train
from speechx.training.run import RunConfig, complete, resumed
from speechx.training.state import TrainState, open_run
from speechx.training.streams import TaskData, open_stream, read_task
from speechx.training.validation import summed, totals_by_language
from speechx.transcription.recognizer import Recognizer

C = TypeVar("C", bound=RunConfig)
