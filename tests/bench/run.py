"""`make bench`: measures, prints a table, and keeps the figures in `docs/benchmarks.md` and `docs/benchmarks.json`.

Whole runs are compared with a hand-written loop, the two in turn, as medians of the ratios of neighbours. The noise of
the machine is in every figure; of those in seconds only the order of magnitude means anything elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.bench import faces, ledgers, runs  # noqa: E402
from tests.bench.figure import Figure, table  # noqa: E402

PARTS: dict[str, Callable[[Path, int], list[Figure]]] = {
    "runs": runs.against_by_hand,
    "parallel": runs.against_the_ideal,
    "claim": runs.claim_to_process,
    "restart": ledgers.restart,
    "start-up": faces.start_up,
    "check": faces.plan_checks,
    "idle": faces.idle_daemon,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help="which; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="pairs, or repetitions, of each measurement")
    parser.add_argument("--keep", action="store_true", help="add the table to docs/benchmarks.md")
    given = parser.parse_args()
    figures: list[Figure] = []
    for name in given.parts or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[name](Path(folder), given.rounds)
        figures += found
        print(table(found), flush=True)
    if given.keep:
        keep(figures)


def keep(figures: list[Figure]) -> None:
    """Put this measurement before the earlier ones."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    entry = {
        "at": datetime.now(UTC).date().isoformat(),
        "commit": commit,
        "python": platform.python_version(),
        "git": subprocess.run(["git", "version"], capture_output=True, text=True, check=True).stdout.split()[2],
        "cores": os.cpu_count(),
        "figures": [figure.as_json() for figure in figures],
    }
    history = ROOT / "docs" / "benchmarks.json"
    entries = [entry, *(json.loads(history.read_text()) if history.exists() else [])]
    history.write_text(json.dumps(entries, indent=1) + "\n")
    page = ROOT / "docs" / "benchmarks.md"
    before, mark, after = page.read_text().partition("<!-- measurements -->\n")
    title = f"## {entry['at']}, commit {commit}: {entry['cores']} cores, Python {entry['python']}, git {entry['git']}"
    page.write_text(f"{before}{mark}\n{title}\n\n{table(figures)}\n{after}")


if __name__ == "__main__":
    main()
