"""An event as a row of the ledger."""

from __future__ import annotations

import hashlib
import json

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.backends.ledger import GENESIS, link

TEXTS = st.text(st.characters(), max_size=20)
NAMES = st.none() | TEXTS


@given(
    seq=st.integers(0, 2**62),
    at_us=st.integers(-(2**40), 2**62),
    name=TEXTS,
    columns=st.tuples(NAMES, NAMES, NAMES, st.none() | st.integers(0, 2**62)),
    data=TEXTS,
)
def test_a_row_is_hashed_as_the_json_of_its_columns(
    seq: int, at_us: int, name: str, columns: tuple[str | None, str | None, str | None, int | None], data: str
) -> None:
    text = json.dumps([seq, at_us, name, *columns, data])
    assert link(GENESIS, seq, at_us, name, columns, data) == hashlib.sha256(GENESIS + text.encode()).digest()
