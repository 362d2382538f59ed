"""IARPA BABEL: the language packs of LDC, telephone calls in 25 languages."""

from speechx.corpora.babel.reader import Options, prepare

__all__ = ["Options", "prepare"]
