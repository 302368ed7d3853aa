from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.person import Person


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """Somebody with a fresh repository; whatever they started is ended afterwards."""
    someone = Person.with_repository(tmp_path)
    yield someone
    someone.leave()
