"""How large a proof is: its own size times `PROVE_SCALE`."""

from __future__ import annotations

import os


def scaled(size: int) -> int:
    """A size as the environment wants it, at least 1."""
    return max(1, round(size * float(os.environ.get("PROVE_SCALE", "1"))))
