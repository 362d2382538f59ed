"""The settings of the speech that a task learns from: manifests, and what is taken of them."""

from pathlib import Path

from speechx.config import config, require_not_negative, require_positive
from speechx.data.augmentation import Augment
from speechx.text.vocabulary import TokenType


@config
class SpeechData:
    """Manifests, and what is taken of them."""

    train: tuple[Path, ...]
    """Manifests. An objective without labels ignores text and phones in them."""
    dev: tuple[Path, ...] = ()
    """Manifests to validate on; an objective with labels needs some."""
    exclude: tuple[Path, ...] = ()
    """Lists of utterances to leave out of all manifests, as `speechx data doctor` writes them."""
    alpha: float = 0.5
    """Languages are mixed with p proportional to hours^alpha: hours that can be used, and shares of
    the seconds that remain after cropping."""
    corpus_alpha: float | None = None
    """Corpora too, with p proportional to hours^corpus_alpha, and languages within each (XLS-R).
    Without it corpora are not distinguished."""
    max_unreadable: float = 0.01
    """Share of the utterances tried that may be unreadable: they are replaced and listed in
    unreadable.tsv; beyond it the run stops."""
    crop_seconds: float = 20.0
    """Unlabelled speech: longest row."""
    min_seconds: float = 2.0
    """Unlabelled speech: shorter rows are left out, and counted."""
    join_seconds: float = 0.0
    """Unlabelled speech: short utterances of one speaker in one corpus and language are joined to
    rows of at least this length. Where no speaker is named, all utterances of that corpus and
    language count as one speaker."""
    limit_minutes: float | None = None
    """Labelled speech: minutes to use of each language, the same ones for the same run.seed."""
    max_seconds: float = 60.0
    """Labelled speech: longer utterances are an error. An utterance is one row, whose memory and
    time grow with the square of its length."""
    speed: tuple[float, float] = (1.0, 1.0)
    """Labelled speech: each time an utterance is used, it is played at a random speed between these
    two."""
    augment: Augment = Augment()
    """Labelled speech: noise, rooms and a telephone line, drawn anew each time."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ValueError("train needs at least one manifest")
        for name in ("train", "dev"):
            paths = getattr(self, name)
            if twice := sorted({str(path) for path in paths if paths.count(path) > 1}):
                raise ValueError(f"{name} names a manifest twice: {', '.join(twice)}")
        for name in ("alpha", "corpus_alpha", "max_unreadable"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ValueError(f"{name} must be between 0 and 1, but is {share}")
        require_positive(self, "min_seconds", "crop_seconds", "limit_minutes")
        require_not_negative(self, "join_seconds")
        if self.min_seconds > self.crop_seconds:
            raise ValueError("needs 0 < min_seconds <= crop_seconds")
        if not self.max_seconds > 0:
            raise ValueError(f"max_seconds must be above 0, but is {self.max_seconds}")
        if not 0.5 <= self.speed[0] <= self.speed[1] <= 2:
            raise ValueError(
                "speed must be two numbers from 0.5 to 2, the slower first, "
                f"but is {list(self.speed)}"
            )

    def require(self, token_type: TokenType | None) -> None:
        """Raises ValueError where an objective with labels of this type, or without labels, cannot
        use these settings."""
        if token_type is not None and not self.dev:
            raise ValueError("data.dev needs at least one manifest: labels are validated on it")
        unused = UNLABELLED_ONLY if token_type is not None else LABELLED_ONLY
        defaults = SpeechData(train=self.train)
        changed = [n for n in unused if getattr(self, n) != getattr(defaults, n)]
        if changed:
            raise ValueError(
                f"data.{changed[0]} is for {'un' * (token_type is not None)}labelled speech, but "
                f"this objective learns from {'un' * (token_type is None)}labelled speech"
            )


UNLABELLED_ONLY = ("crop_seconds", "min_seconds", "join_seconds")
LABELLED_ONLY = ("limit_minutes", "max_seconds", "speed", "augment")
