"""`python -m orchestrator.app ROOT`: the daemon in the background."""

from __future__ import annotations

import sys

from orchestrator.app.daemon import main

if __name__ == "__main__":
    sys.exit(main())
