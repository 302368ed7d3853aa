from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.prove.life import Nursery


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where the daemons of this process's proofs come from."""
    nursery = Nursery()
    yield nursery
    nursery.close()
