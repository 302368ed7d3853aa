"""Before anything is begun: the ledger against the disk and both repositories, and what is safe put right."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from orchestrator.core.reconcile import AT_START, differences, needs_of
from orchestrator.model.difference import Difference, Remedy
from orchestrator.model.errors import OrchestratorError
from orchestrator.model.run import State
from orchestrator.ports import Surveyor

log = structlog.get_logger(__name__)

ROUNDS = 3  #: what was hidden behind one difference is found in the next


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """What was put right, and what is still different."""

    mended: tuple[Difference, ...] = ()
    left: tuple[Difference, ...] | None = None  #: None: it could not be found out


async def reconcile(
    state: State,
    surveyor: Surveyor,
    *,
    kinds: tuple[type[Remedy], ...] = AT_START,
    thorough: bool = False,
    quiet: bool = False,
) -> Reconciled:
    """Compare, mend what may be mended by itself, and compare again. Never raises, but when `quiet`.

    Args:
        kinds: remedies that are applied; none: only look.
        thorough: read what every attempt left, too.
        quiet: whoever asked tells it; nothing goes to the log, and what fails is raised.
    """
    needs = needs_of(state)
    mended: dict[str, Difference] = {}
    tried: set[str] = set()
    left: tuple[Difference, ...] = ()
    try:
        for _ in range(ROUNDS):
            left = differences(state, needs, await surveyor.survey(needs, thorough=thorough))
            todo = [one for one in left if isinstance(one.remedy, kinds) and one.said not in tried]
            if not todo:
                break
            for one in todo:
                assert one.remedy is not None
                tried.add(one.said)
                try:
                    await surveyor.mend(one.remedy, needs)
                except (OrchestratorError, OSError) as error:
                    if not quiet:
                        log.warning("difference.not_mended", said=one.said, error=str(error))
                else:
                    mended[one.said] = one
    except Exception:
        if quiet:
            raise
        log.exception("reconcile.failed")  # what it would have found is met later, and told then
        return Reconciled(mended=tuple(mended.values()))
    still = {one.said for one in left}
    done = tuple(one for said, one in mended.items() if said not in still)
    for one in done if not quiet else ():
        log.warning("difference.mended", kind=one.kind, said=one.said)
    for one in left if not quiet else ():
        log.warning("difference.found", kind=one.kind, said=one.said, fix=one.fix)
    return Reconciled(mended=done, left=left)
