"""Planted defects of leases, guards and recovery: what each makes the product do, and what has to notice it."""

from __future__ import annotations

from tests.prove.frame import Defect, Edit, Level

LEASES = "tests/unit/test_leases.py::test_"
GUARDS = "tests/unit/test_guards.py::test_"
STORE = "tests/contract/test_store.py::test_"
MACHINE = "tests/prove/test_machine.py::test_leases_and_tasks_keep_their_invariants"
SIMULATION = "tests/prove/test_simulation.py::test_everything_holds_in_a_simulated_day_of_every_seed"


def _of(level: Level, name: str, says: str, module: str, was: str, becomes: str, *caught_by: str) -> Defect:
    edit = Edit(module=f"orchestrator.{module}", was=was, becomes=becomes)
    return Defect(id=name, says=says, level=level, plant=edit, caught_by=caught_by)


def _lease(name: str, says: str, module: str, was: str, becomes: str, *caught_by: str) -> Defect:
    return _of(Level.LEASES, name, says, module, was, becomes, *caught_by)


def _machine(name: str, says: str, module: str, was: str, becomes: str) -> Defect:
    return _of(Level.MACHINE, name, says, module, was, becomes, MACHINE)


def _simulated(name: str, says: str, module: str, was: str, becomes: str) -> Defect:
    return _of(Level.SIMULATION, name, says, module, was, becomes, SIMULATION)


LEASE_DEFECTS = (
    _lease(
        "no-fence-in-the-store",
        "records what belongs to a claim that a newer one has replaced",
        "backends.sqlite",
        "            _check_fence(connection, events)\n",
        "",
        f"{STORE}what_belongs_to_a_claim_that_was_replaced_is_refused",
    ),
    _lease(
        "forget-what-the-kept-state-knows",
        "gives a token out again after an older ledger was put back",
        "backends.sqlite",
        "        return known[0].token\n",
        "        return int(token)\n",
        f"{STORE}a_token_that_only_the_kept_state_knows_is_not_given_out_again",
    ),
    _lease(
        "late-beat-renews",
        "lets a late heartbeat make up for a missed renewal",
        "core.lease",
        "    if lease.state is not LeaseState.LIVE:\n        return  # a missed",
        "    if False:\n        return  # a missed",
        f"{LEASES}a_late_beat_does_not_make_up_for_a_missed_renewal",
    ),
    _lease(
        "look-and-do-nothing",
        "finds a holder dead and does not stop its tree",
        "core.eviction",
        "stop_as=FailureKind.LOST))\n    draft.ask(KillRun(run_id=fact.run_id, asked=draft.state.seq))\n",
        "stop_as=FailureKind.LOST))\n",
        f"{LEASES}an_expired_holder_without_life_is_stopped_salvaged_and_gets_a_new_token",
    ),
    _lease(
        "reissue-while-stuck",
        "takes a tree that would not die for one that is empty",
        "core.eviction",
        "    if not fact.left and not fact.detail:\n",
        "    if True:\n",
        f"{LEASES}a_tree_that_cannot_be_stopped_is_stuck_asked_about_and_never_given_to_another",
    ),
    _lease(
        "free-while-somebody-is-inside",
        "takes a claim back while a process works in its tree",
        "core.eviction",
        "    if not fact.inside:\n",
        "    if True:\n",
        f"{LEASES}a_silent_holder_keeps_its_task_while_a_process_is_in_its_tree",
    ),
    _lease(
        "lease-due-ignored",
        "never looks at a lease whose time is over",
        "core.eviction",
        "held.token != fact.token or held.state is not LeaseState.LIVE:\n        return\n    attempt",
        "held.token >= 0:\n        return\n    attempt",
        f"{LEASES}an_expired_holder_without_life_is_stopped_salvaged_and_gets_a_new_token",
    ),
    _lease(
        "one-sign-is-enough",
        "stops a holder that a look has found alive",
        "core.eviction",
        "    if fact.life is RunLife.ALIVE:\n        lease.renew",
        "    if False:\n        lease.renew",
        f"{LEASES}an_expired_holder_that_a_look_finds_alive_keeps_its_task",
    ),
    _lease(
        "late-result-unseen",
        "says nothing of what a replaced holder brings",
        "core.attempts",
        "if set(fact.salvage) - set(attempt.salvage) or fact.head",
        "if False and fact.head",
        f"{LEASES}what_a_replaced_holder_brings_is_kept_and_shown_and_taken_for_nothing",
    ),
    _lease(
        "lose-a-late-result",
        "forgets where the work of a replaced holder is kept",
        "core.leasefold",
        "kept = tuple(dict.fromkeys((*attempt.salvage, *event.salvage)))",
        "kept = attempt.salvage",
        f"{LEASES}what_a_replaced_holder_brings_is_kept_and_shown_and_taken_for_nothing",
    ),
    _lease(
        "no-grace-after-a-start",
        "expires leases whose heartbeats nobody could hear",
        "core.lease",
        "if lease.state is LeaseState.LIVE and lease.expires_at is not None and lease.expires_at < until:",
        "if False:",
        f"{LEASES}a_new_daemon_gives_every_holder_time_to_be_heard",
    ),
    _lease(
        "endless-without-number",
        "gives out as many claims without an end as are asked for",
        "core.claims",
        "if len(mine) >= terms.indefinite_per_agent or len(endless) >= terms.indefinite:",
        "if False:",
        f"{LEASES}a_claim_without_an_end_needs_a_reason_and_there_are_few_of_them",
    ),
    _lease(
        "endless-without-reason",
        "gives out a claim without an end that nobody can judge later",
        "core.claims",
        "    if not fact.reason:\n",
        "    if False:\n",
        f"{LEASES}a_claim_without_an_end_needs_a_reason_and_there_are_few_of_them",
    ),
    _lease(
        "never-review",
        "never brings up a claim without an end",
        "core.eviction",
        "    if not _items_about(draft, plan, held.attempt_id):\n",
        "    if False:\n",
        f"{LEASES}a_claim_without_an_end_is_brought_up_when_its_time_to_be_looked_at_has_come",
    ),
    _lease(
        "claim-beside-a-rival",
        "lets somebody claim a task whose files an agent has",
        "core.schedule",
        "        and holder_of(run, task.task.id) is None\n        and _has_places",
        "        and _has_places",
        f"{LEASES}a_claim_is_checked_as_every_start_is",
    ),
    _lease(
        "claim-twice",
        "lets one holder claim a second task",
        "core.claims",
        "if held.holder == holder and plan",
        "if False and plan",
        f"{LEASES}a_holder_gives_back_before_it_claims_again",
    ),
    _lease(
        "stale-hand-in",
        "takes work under a claim of which nothing was heard for long",
        "core.claims",
        " or lease.is_stale(held, terms, draft.now) or held.has_expired(draft.now):",
        " or held.has_expired(draft.now):",
        f"{LEASES}under_a_stale_claim_nothing_is_handed_in_until_its_holder_is_heard_again",
    ),
    _lease(
        "any-token",
        "lets anybody renew and hand in with any token",
        "core.claims",
        "if held is None or held.token != token or not plan",
        "if held is None or not plan",
        f"{LEASES}another_token_is_refused",
    ),
    _lease(
        "holds-ignored",
        "starts work while the machine is short of room",
        "core.schedule",
        "    if general_hold(state) is not None:\n        return None\n    busy",
        "    busy",
        f"{GUARDS}nothing_is_started_while_the_machine_is_short_and_what_runs_is_left_alone",
    ),
    _lease(
        "no-spawn-limit",
        "starts failed work again as fast as it fails",
        "core.attempts",
        "if left < ALMOST_ONE - 1:",
        "if False:",
        f"{GUARDS}an_agent_that_always_crashes_is_started_at_the_rate_after_a_burst",
    ),
    _lease(
        "recovered-numbers",
        "counts candidates of a recovered ledger from where the ledger ends",
        "core.recoveryfold",
        "max(plan.candidates, reached.candidates)",
        "plan.candidates",
        "tests/unit/test_recovery.py::test_numbers_that_anything_bears_are_not_given_out_again",
    ),
    _lease(
        "stale-row",
        "goes on showing that the branch is being made when it is there",
        "core.report",
        " or (before.tip is None) is not (after.tip is None)",
        "",
        "tests/unit/test_projections.py::test_what_waits_for_the_branch_is_told_when_it_is_there",
    ),
)

MODEL_DEFECTS = (
    _machine(
        "reuse-tokens-after-a-restore",
        "does not raise its tokens above those that a newer ledger gave out",
        "core.state",
        "max(state.token, event.tokens_from)",
        "state.token",
    ),
    _machine(
        "reuse-tokens-after-recover",
        "recovers a ledger and gives its lost tokens out again",
        "core.recoveryfold",
        "max(state.token, event.token_floor)",
        "state.token",
    ),
    _machine(
        "drain-for-ever",
        "is still on its way out after the next start",
        "core.state",
        "                drain=Drain.NO,\n                boot_id",
        "                boot_id",
    ),
    _machine(
        "cap-ignored",
        "starts a task as often as it fails",
        "core.attempts",
        "    if at_cap(draft.state.guards, task):\n        context",
        "    if False:\n        context",
    ),
    _machine(
        "two-claims-on-shared-files",
        "gives two tasks that share a file out at once",
        "core.schedule",
        "if missing_dependencies(run, task) or holder_of(run, task.task.id) is not None:",
        "if missing_dependencies(run, task):",
    ),
    _machine(
        "collect-while-it-runs",
        "ends an attempt on the word that it is to stop",
        "core.eviction",
        "    if not fact.left and not fact.detail:\n",
        "    if not fact.detail:\n",
    ),
    _simulated(
        "forget-what-is-to-do",
        "asks for none of the effects that the last daemon left",
        "engine.loop",
        "        return await self._store.to_do()\n",
        "        await self._store.to_do()\n        return []\n",
    ),
    _simulated(
        "watch-nothing",
        "does not take up runs of an earlier daemon",
        "engine.loop",
        "if run.state is not RunState.REQUESTED and known not in self._watched:",
        "if run.state is RunState.READY and known not in self._watched:",
    ),
    _simulated(
        "forget-a-fact-of-every-batch",
        "acknowledges a request before it is in the ledger",
        "engine.loop",
        "self.seq = await self._recorded(record)",
        "self.seq += len(record.events); await self._recorded(record)",
    ),
    _simulated(
        "files-are-free-at-once",
        "gives the files of a cancelled task away while its agent lives",
        "core.moves",
        "holds=task_id in plan.leases",
        "holds=False",
    ),
)
