"""`python -m orchestrator.simulation`: run seeds, say what did not hold, and how to see it again."""

from __future__ import annotations

import argparse
import sys
import time

from orchestrator.simulation.world import Outcome, simulate_seed


def seeds_of(text: str) -> range:
    """`7` or `1-500`, as numbers."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def told(outcome: Outcome, hours: float) -> str:
    """What came of a seed, and how to repeat it when something did not hold."""
    a_hour = outcome.transactions / outcome.virtual_hours
    line = (
        f"seed {outcome.seed}: {outcome.virtual_hours:.1f} h, {outcome.events} events, {a_hour:.0f} transactions an "
        f"hour, {outcome.plans} plans, {outcome.daemons} daemons, ledger {outcome.digest[:12]}"
    )
    if not outcome.violations:
        return line
    again = f"again: python -m orchestrator.simulation --seeds {outcome.seed} --hours {hours:g}"
    faults = f"faults: {', '.join(outcome.faults) or 'none'}"
    return "\n  ".join((line, *outcome.violations, faults, again))


def main() -> int:
    """Returns: 0 when everything held, else 1."""
    parser = argparse.ArgumentParser(prog="python -m orchestrator.simulation", description=__doc__)
    parser.add_argument("--seeds", type=seeds_of, default=seeds_of("1-20"), help="one, or a range such as 1-500")
    parser.add_argument("--hours", type=float, default=24.0, help="virtual hours with faults, for each seed")
    parser.add_argument("--quiet", action="store_true", help="show only seeds in which something did not hold")
    asked = parser.parse_args()
    hours = events = transactions = failed = 0.0
    began = time.perf_counter()
    for seed in asked.seeds:
        outcome = simulate_seed(seed, asked.hours)
        hours += outcome.virtual_hours
        events += outcome.events
        transactions += outcome.transactions
        failed += bool(outcome.violations)
        if outcome.violations or not asked.quiet:
            print(told(outcome, asked.hours), flush=True)
    took = time.perf_counter() - began
    print(
        f"{len(asked.seeds)} seeds, {hours:.0f} virtual hours, {events:.0f} events, {transactions / hours:.0f} "
        f"transactions an hour, {failed:.0f} seeds with violations, {hours / took:.0f} hours a second"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
