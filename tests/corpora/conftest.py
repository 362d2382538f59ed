"""The messages of a preparation, for tests that check them."""

from collections.abc import Iterator

import pytest

from tests.corpora.corpus_trees import logged


@pytest.fixture
def messages() -> Iterator[list[str]]:
    with logged() as found:
        yield found
