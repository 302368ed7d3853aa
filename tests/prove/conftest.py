from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.prove.life import Nursery


def pytest_itemcollected(item: pytest.Item) -> None:
    # httpcore2 leaves its socket to the collector when a daemon dies between the client's knock and its connecting
    item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"))


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Where the daemons of this process's proofs come from."""
    nursery = Nursery()
    yield nursery
    nursery.close()
