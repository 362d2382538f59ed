"""An annotation file that is to be filled: its tiers with their empty segments, and its media."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class EmptySegment:
    """Seconds in the annotation file, and the place of its text there."""

    start: float
    end: float
    at: int
    until: int


@dataclass(frozen=True, slots=True)
class AnnotationTier:
    name: str
    empty: tuple[EmptySegment, ...]
    untimed: int = 0
    """Empty segments that have no times of their own."""
    points: bool = False
    """Whether it holds points, which have no sound."""


@dataclass(frozen=True, slots=True)
class MediaLink:
    """A recording as an annotation file names it."""

    urls: tuple[str, ...]
    """The way from the file first, then the absolute one."""
    origin: float = 0.0
    """Second of the recording where the times of the annotation file begin."""


Texts: TypeAlias = Mapping[EmptySegment, str]


@dataclass(frozen=True, slots=True)
class Sheet:
    tiers: tuple[AnnotationTier, ...]
    links: tuple[MediaLink, ...]
    with_texts: Callable[[Texts], bytes]
    """The whole file with these texts, and everything else byte for byte as it was."""
