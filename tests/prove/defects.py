"""The planted defects: what each makes the product do, and the test that has to notice.

When a place that one is planted in has changed, `test_defects.py` says so: give it the text as it is now.
"""

from __future__ import annotations

import sys

from tests.prove.frame import Defect, Edit, Level, run
from tests.prove.lease_defects import LEASE_DEFECTS, MODEL_DEFECTS

UNIT, INTEGRATION, CONTRACT, PROVE = "tests/unit/", "tests/integration/", "tests/contract/", "tests/prove/"
LIFECYCLE, PROMISES = f"{UNIT}test_lifecycle.py::test_", f"{UNIT}test_promises.py"
POWER = f"{PROVE}test_powerloss.py::test_"


def _core(name: str, says: str, module: str, was: str, becomes: str, *caught_by: str, quick: bool = False) -> Defect:
    edit = Edit(module=f"orchestrator.core.{module}", was=was, becomes=becomes)
    return Defect(id=name, says=says, level=Level.CORE, plant=edit, caught_by=caught_by or (PROMISES,), quick=quick)


def _at(level: Level, name: str, says: str, module: str, was: str, becomes: str, *caught_by: str) -> Defect:
    folder = "engine" if level is Level.ENGINE else "backends"
    edit = Edit(module=f"orchestrator.{folder}.{module}", was=was, becomes=becomes)
    return Defect(id=name, says=says, level=level, plant=edit, caught_by=caught_by)


_CORE = (
    _core(
        "skip-dependencies",
        "starts a task before what it depends on has landed",
        "schedule",
        "missing_dependencies(run, task) or holder_of(run, task.task.id) is not None",
        "holder_of(run, task.task.id) is not None",
        f"{LIFECYCLE}a_dependant_starts_only_after_its_dependency_has_landed",
        quick=True,
    ),
    _core(
        "ignore-rivals",
        "lets two agents work on one file",
        "schedule",
        "missing_dependencies(run, task) or holder_of(run, task.task.id) is not None",
        "missing_dependencies(run, task)",
        PROMISES,
        quick=True,
    ),
    _core(
        "forget-places",
        "lets more use a shared thing than it has places",
        "schedule",
        "if limits and not _has_places(task, limits, taken):",
        "if False:",
        f"{UNIT}test_limits.py",
    ),
    _core(
        "no-parallel-limit",
        "starts as many as it likes",
        "schedule",
        "(room <= 0 and not",
        "(room <= -99 and not",
        PROMISES,
    ),
    _core(
        "start-while-paused",
        "starts tasks of a paused plan",
        "schedule",
        'plan order."""\n    if run.phase is not PlanPhase.RUNNING or run.tip',
        'plan order."""\n    if run.tip',
        f"{LIFECYCLE}pause_starts_nothing_and_resume_goes_on",
    ),
    _core(
        "build-on-what-is-taken-back",
        "starts a task on a dependency that is being undone",
        "schedule",
        " or other.undo is not None)",
        ")",
        f"{UNIT}test_publish_and_undo.py",
    ),
    _core(
        "free-files-too-early",
        "gives a cancelled task's files away while its agent lives",
        "moves",
        "holds=task_id in plan.leases",
        "holds=False",
        f"{LIFECYCLE}cancel_stops_the_agent_before_its_files_are_free",
    ),
    _core(
        "never-free-files",
        "keeps the files of a task that has landed",
        "gatefold",
        "holds=False,",
        "holds=True,",
        f"{LIFECYCLE}tasks_that_share_a_file_never_run_at_once",
    ),
    _core(
        "retry-without-cap",
        "tries a crashing agent again for ever",
        "retry",
        "if failures > policy.retries:",
        "if failures > 9:",
        f"{LIFECYCLE}crashes_lead_to",
    ),
    _core(
        "never-ask-about-work",
        "sends work that does not hold back for ever",
        "retry",
        "if work_failures < 2 else AskPerson()",
        "if work_failures < 9 else AskPerson()",
        f"{LIFECYCLE}work_that_does_not_hold_goes_back_once_and_then_asks",
    ),
    _core(
        "believe-any-exit",
        "takes every exit status for success",
        "retry",
        "return None if exit.code == 0 else FailureKind.CRASH",
        "return None",
        f"{UNIT}test_retry.py",
    ),
    _core(
        "lost-is-success",
        "takes a run that disappeared for one that ended well",
        "retry",
        "return FailureKind.LOST",
        "return None",
        f"{UNIT}test_retry.py",
    ),
    _core(
        "accept-outside-files",
        "takes work that changed files of others",
        "evidence",
        "outside = outside_files(task, fact.changed)",
        "outside: list[str] = []",
        f"{LIFECYCLE}work_that_does_not_hold_goes_back_once_and_then_asks",
    ),
    _core(
        "accept-other-history",
        "takes a branch that does not contain its base",
        "evidence",
        "if not fact.descends:",
        "if False:",
        f"{LIFECYCLE}work_that_does_not_hold_goes_back_once_and_then_asks",
    ),
    _core(
        "accept-markers",
        "takes work with conflict markers in it",
        "evidence",
        "if fact.unfinished_merge:",
        "if False:",
        f"{LIFECYCLE}work_that_does_not_hold_goes_back_once_and_then_asks",
    ),
    _core(
        "nothing-done-is-success",
        "lands an agent that did nothing and said nothing",
        "evidence",
        "if not fact.changed and attempt.no_change is None and not task.task.files.is_empty:",
        "if False:",
        f"{LIFECYCLE}work_that_does_not_hold_goes_back_once_and_then_asks",
    ),
    _core(
        "skip-protected",
        "lets protected paths through without a person's yes",
        "attempts",
        "    if guarded:",
        "    if False:",
        f"{LIFECYCLE}protected_paths_need_a_persons_yes",
    ),
    _core(
        "land-without-green",
        "lands what its checks did not pass",
        "gate",
        "elif failure_of(exit) is None:",
        "elif exit.code is not None:",
        f"{LIFECYCLE}a_check_that_did_not_end_well_is_never_green",
    ),
    _core(
        "skip-checks",
        "lands a candidate without running its checks",
        "gate",
        "step = step_after(candidate_steps(plan, candidate), after)",
        "step = None",
        PROMISES,
    ),
    _core(
        "late-word-on-a-candidate",
        "lands the present candidate on the word about an earlier one",
        "gate",
        "plan.candidate is None or plan.candidate.id != candidate:",
        "plan.candidate is None:",
        f"{LIFECYCLE}a_landing_that_is_told_again_lands_nothing_else",
    ),
    _core(
        "merge-on-an-old-tip",
        "builds candidates on where the plan began",
        "gate",
        "            parent=plan.tip,\n            other=task",
        "            parent=plan.started_at_commit or plan.tip,\n            other=task",
        PROMISES,
    ),
    _core(
        "two-at-the-gate",
        "takes a second candidate to the gate while one is there",
        "gate",
        "        and plan.candidate is None\n",
        "",
        PROMISES,
    ),
    _core(
        "reuse-a-token",
        "grants every lease under the same token",
        "lease",
        "draft.state.token + 1",
        "1",
        f"{LIFECYCLE}crashes_lead_to",
    ),
    _core(
        "forget-the-token",
        "does not keep the highest token",
        "state",
        "max(state.token, event.token)",
        "state.token",
        PROMISES,
    ),
    _core(
        "accept-an-old-token",
        "takes the word of an attempt that lost its lease",
        "attempts",
        "return (plan, attempt) if lease.lease_of(attempt, plan) is not None else None",
        "return (plan, attempt)",
        f"{LIFECYCLE}the_word_of_an_evicted_attempt_changes_nothing",
    ),
    _core(
        "read-reports-twice",
        "takes a report again that it has read",
        "attempts",
        "if fact.offset <= attempt.reports_offset:",
        "if False:",
        f"{LIFECYCLE}a_report_that_is_told_twice_is_taken_once",
    ),
    _core(
        "compare-with-case",
        "does not see that A.py and a.py may be one file",
        "letters",
        "        return text.lower()\n",
        "        return text\n",
        f"{UNIT}test_overlap.py",
    ),
    _core(
        "publish-untested",
        "publishes before the last check",
        "publish",
        "plan.tip is None or not is_settled(plan):",
        "plan.tip is None:",
        PROMISES,
    ),
    _core(
        "decide-in-the-fold",
        "waits another time after a restart than before",
        "draft",
        "self.state = apply(self.state, event, self.now)",
        "self.state = apply(self.state, event, self.now.replace(microsecond=1))",
        f"{LIFECYCLE}crashes_lead_to",
    ),
)

_ENGINE = (
    _at(
        Level.ENGINE,
        "done-before-commit",
        "begins effects before the decision is in the ledger",
        "loop",
        "self.seq = await self._recorded(record)",
        "self._begin(tasks, outcome.effects); self.seq = await self._recorded(record)",
        f"{INTEGRATION}test_daemon.py",
    ),
    _at(
        Level.ENGINE,
        "answer-before-commit",
        "tells a caller yes before the ledger has it",
        "loop",
        "self.seq = await self._recorded(record)",
        "[one.done.set() for one in taken if one.done]; self.seq = await self._recorded(record)",
        f"{INTEGRATION}test_daemon.py",
    ),
    _at(
        Level.ENGINE,
        "forget-facts",
        "loses what the world told while the disk was full",
        "loop",
        "return [delivery for delivery in taken if delivery.done is None]",
        "return []",
        f"{INTEGRATION}test_daemon.py",
    ),
    _at(
        Level.ENGINE,
        "blame-the-work",
        "counts a full disk as the agent's failure",
        "perform",
        "if is_full(error) and isinstance(effect, NEEDS_ROOM)",
        "if False and isinstance(effect, NEEDS_ROOM)",
        f"{UNIT}test_perform.py",
    ),
)

_STORE = (
    _at(
        Level.STORE,
        "no-chain-check",
        "works on with a ledger that somebody changed",
        "ledger_chain",
        "                raise ledger_errors.chain_broken(path, seq)",
        "                pass",
        f"{INTEGRATION}test_ledger_files.py::test_a_ledger_that_was_changed_is_found_out_and_not_used",
    ),
    _at(
        Level.STORE,
        "effect-key-not-unique",
        "takes two different effects under one key",
        "sqlite",
        'raise AssertionError(f"two different effects',
        'print(f"two different effects',
        f"{CONTRACT}test_store.py::test_one_key_with_two_contents_is_our_bug",
    ),
    _at(
        Level.STORE,
        "half-a-batch",
        "keeps the first half of a batch that failed",
        "sqlite",
        'connection.execute("ROLLBACK")',
        'connection.execute("COMMIT")',
        f"{CONTRACT}test_store.py::test_a_batch_that_fails_leaves_nothing_and_the_next_one_is_taken",
    ),
    _at(
        Level.STORE,
        "write-on-a-deleted-file",
        "writes on into a ledger that was deleted",
        "sqlite",
        "if identities(self._path) != self._files:",
        "if False:",
        f"{INTEGRATION}test_ledger_files.py::test_a_ledger_that_was_deleted_or_replaced_is_not_written_on",
    ),
    _at(
        Level.STORE,
        "never-done",
        "does every effect again after a restart",
        "sqlite",
        "SET state = 'done'",
        "SET state = 'todo'",
        f"{CONTRACT}test_store.py::test_effects_to_do_survive_a_restart_and_answered_ones_stay_answered",
    ),
)

_POWER = (
    _at(
        Level.POWER,
        "sync-less",
        "runs SQLite with synchronous=NORMAL",
        "ledger_file",
        '"synchronous": ("FULL", 2)',
        '"synchronous": ("NORMAL", 1)',
        f"{POWER}no_acknowledged_event_is_lost_with_the_power",
    ),
    _at(
        Level.POWER,
        "unsynced-state-folder",
        "leaves the name of the state folder to chance",
        "ledger_file",
        "        _keep_name(path.parent)",
        "        pass",
        f"{POWER}no_acknowledged_event_is_lost_with_the_power[adversarial]",
    ),
    _at(
        Level.POWER,
        "unsynced-clone",
        "leaves repo.git to chance after making it",
        "takeover",
        "    sync_all_around(fresh)",
        "    pass",
        f"{POWER}what_the_ledger_says_of_commits_references_and_runs_is_there",
    ),
    _at(
        Level.POWER,
        "unsynced-references",
        "leaves what it writes into the user's repository to chance",
        "gitrun",
        "            settings=LASTING,\n",
        "",
        f"{POWER}what_the_ledger_says_of_commits_references_and_runs_is_there",
    ),
    _at(
        Level.POWER,
        "unsynced-landing",
        "tells a landing before the branch is on the disk",
        "durable",
        "    sync_objects(git)\n    above",
        "    return\n    above",
        f"{POWER}what_the_ledger_says_of_commits_references_and_runs_is_there[adversarial]",
    ),
    _at(
        Level.POWER,
        "started-is-not-durable",
        "gives the program its start before the record of it",
        "supervisor",
        "    if not go_given(signals, beat):\n        return never_started(spec, beat)",
        "    never_started(spec, beat)\n    go_given(signals, beat)",
        f"{POWER}what_the_ledger_says_of_commits_references_and_runs_is_there",
    ),
)

_REPOSITORY = (
    _at(
        Level.REPOSITORY,
        "land-by-force",
        "moves the plan's branch wherever it is",
        "candidates",
        'f"orchestrator {plan}: land", name, new, old)',
        'f"orchestrator {plan}: land", name, new)',
        f"{INTEGRATION}test_repository.py::test_landing_is_a_compare_and_swap_that_can_be_repeated",
    ),
    _at(
        Level.REPOSITORY,
        "no-salvage",
        "removes a tree without keeping what is in it",
        "repository",
        "salvage = await self._in_thread(home.salvage)",
        "salvage: tuple[str, ...] = ()",
        f"{INTEGRATION}test_collecting.py::test_work_done_after_the_hand_off_is_salvaged_at_removal",
    ),
    _at(
        Level.REPOSITORY,
        "no-trash",
        "deletes a tree instead of putting it aside",
        "workspaces",
        'tree.rename(folder / "tree")',
        '__import__("shutil").rmtree(tree)',
        f"{INTEGRATION}test_collecting.py::test_removing_salvages_first_then_moves_tree_and_repository_to_the_trash",
    ),
    _at(
        Level.REPOSITORY,
        "fetch-without-fsck",
        "takes malformed objects of an agent",
        "leftovers",
        'answer = ours.ask("fetch",',
        'answer = ours.with_(settings={"fetch.fsckObjects": "0", "transfer.fsckObjects": "0"}).ask("fetch",',
        f"{INTEGRATION}test_collecting.py::test_objects_that_are_missing_or_malformed_are_refused_with_the_reason",
    ),
    _at(
        Level.REPOSITORY,
        "follow-the-agents-config",
        "runs its git with a configuration that the agent wrote",
        "collecting",
        "git = replace(self.ours, umask=self.repositories.umask)",
        "git = replace(self.ours, git_dir=self.repositories.place.git_dir(self.attempt))",
        f"{INTEGRATION}test_collecting.py::test_nothing_the_agent_configured_is_ever_run",
    ),
    _at(
        Level.REPOSITORY,
        "run-the-users-hooks",
        "runs hooks of the user's in its own calls",
        "gitrun",
        '    "core.hooksPath": "/dev/null",\n',
        "",
        f"{INTEGRATION}test_collecting.py::test_the_users_hooks_run_for_none_of_our_calls",
    ),
    _at(
        Level.REPOSITORY,
        "leave-branches-behind",
        "keeps nothing of an agent's other branches and stash",
        "collecting",
        "for commit in left.others:",
        "for commit in ():",
        f"{INTEGRATION}test_collecting.py::test_branches_left_behind_and_every_stash_entry_are_salvaged",
    ),
    _at(
        Level.REPOSITORY,
        "forget-the-old-tip",
        "begins a plan anew without keeping what it had",
        "mirror",
        'ours.run("update-ref", old_name, tip)',
        "pass",
        f"{INTEGRATION}test_repository.py::test_a_new_run_begins_at_the_target_and_keeps_the_old_tip",
    ),
    _at(
        Level.REPOSITORY,
        "overwrite-a-persons-branch",
        "moves the mirror over a commit of a person",
        "mirror",
        "or not _is_ours(repositories, plan, commit, present):",
        "or False:",
        f"{INTEGRATION}test_publish.py::test_a_persons_commit_on_the_mirror_is_not_overwritten",
    ),
    _at(
        Level.REPOSITORY,
        "overwrite-an-earlier-attempt",
        "loses what an earlier attempt of the same name left",
        "mirror",
        "if old is not None and name not in moving:",
        "if False:",
        f"{INTEGRATION}test_collecting.py::test_an_earlier_attempt_of_the_same_name_is_never_overwritten",
    ),
    _at(
        Level.REPOSITORY,
        "break-the-users-locks",
        "removes a lock that the user's git holds",
        "takeover",
        'place.repo_git.rglob("*.lock")',
        'place.common_dir.rglob("*.lock")',
        f"{INTEGRATION}test_repository.py::test_a_lock_in_the_users_repository_is_left_alone",
    ),
)

_PUBLISH = (
    _at(
        Level.PUBLISH,
        "plain-merge",
        "publishes over a file that git ignores",
        "publish",
        '    "--no-overwrite-ignore",\n',
        "",
        f"{INTEGRATION}test_publish.py::test_what_is_in_the_way_is_left_and_named_with_a_command",
    ),
    _at(
        Level.PUBLISH,
        "publish-under-a-rebase",
        "moves a branch that somebody is rebasing",
        "publish",
        "            if busy:",
        "            if False:",
        f"{INTEGRATION}test_publish.py::test_what_is_in_the_way_is_left_and_named_with_a_command",
        f"{INTEGRATION}test_publish_holes.py",
    ),
    _at(
        Level.PUBLISH,
        "publish-over-commits",
        "moves the target away from commits that the plan does not have",
        "publish",
        "    if not users.contains(commit, present):",
        "    if False:",
        f"{INTEGRATION}test_publish.py::test_a_target_that_went_elsewhere_is_told_and_left",
    ),
    _at(
        Level.PUBLISH,
        "autostash",
        "puts a person's changes into a stash to get by",
        "publish",
        '    "--no-autostash",\n',
        "",
        f"{INTEGRATION}test_publish_holes.py",
    ),
)

_SUPERVISION = (
    _at(
        Level.SUPERVISION,
        "lock-freed-early",
        "gives the run folder's lock back at once",
        "supervisor",
        "            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n            return fd",
        "            return fd",
        f"{INTEGRATION}test_supervisor.py::test_a_folder_has_one_supervisor",
        f"{INTEGRATION}test_local_executor.py",
    ),
    _at(
        Level.SUPERVISION,
        "no-go-byte",
        "runs the program before the ledger knows of it",
        "supervisor",
        "    if not go_given(signals, beat):",
        "    if False:",
        f"{INTEGRATION}test_supervisor.py::test_a_daemon_that_goes_away_before_the_go_byte_leaves_never_started",
    ),
    _at(
        Level.SUPERVISION,
        "record-before-the-end",
        "writes the exit record while processes of the tree live",
        "supervisor",
        "                self._status = status\n",
        "                self._status = status\n                return True\n",
        f"{INTEGRATION}test_supervisor.py::test_a_program_that_ends_leaves_no_daemon_behind_and_keeps_its_code",
    ),
    _at(
        Level.SUPERVISION,
        "used-twice",
        "runs a program again in a folder that has been used",
        "supervisor",
        'if os.path.exists("meta.json") or os.path.exists("exit.json"):',
        "if False:",
        f"{INTEGRATION}test_supervisor.py::test_a_folder_is_used_once",
    ),
    _at(
        Level.SUPERVISION,
        "trust-the-record",
        "signals whoever the run folder names",
        "process",
        '    if not LINUX:\n        listed = subprocess.run(["ps"',
        '    if pid > 0:\n        return True\n    if not LINUX:\n        listed = subprocess.run(["ps"',
        f"{INTEGRATION}test_local_executor.py::test_a_forged_record_gets_no_stranger_stopped_and_the_run_is_stopped_"
        "all_the_same",
    ),
    _at(
        Level.SUPERVISION,
        "leave-survivors",
        "takes an attempt's work while its processes still write",
        "local",
        "await to_thread.run_sync(end_survivors, run_dir)",
        "()",
        f"{INTEGRATION}test_local_executor.py::test_what_a_killed_supervisor_leaves_alive_is_ended_before_the_run_is_"
        "called_lost",
    ),
    _at(
        Level.SUPERVISION,
        "start-a-lost-run-again",
        "runs a program twice when its supervisor was lost",
        "local",
        "if (record is None and has_started(run_dir)) or",
        "if",
        f"{INTEGRATION}test_local_executor.py::test_a_lost_run_is_never_started_again",
    ),
    _at(
        Level.SUPERVISION,
        "two-daemons",
        "lets a second daemon in",
        "lock",
        "        if _try(fd, path, fcntl.LOCK_EX):",
        "        if True:",
        f"{INTEGRATION}test_lock.py::test_a_second_daemon_is_refused_and_told_who_holds_it",
    ),
)

DEFECTS: tuple[Defect, ...] = (
    *_CORE,
    *_ENGINE,
    *_STORE,
    *_POWER,
    *_REPOSITORY,
    *_PUBLISH,
    *_SUPERVISION,
    *LEASE_DEFECTS,
    *MODEL_DEFECTS,
)


def main(wanted: list[str]) -> int:
    """Plant one after the other and print what noticed it. Returns: how many survived."""
    survivors = 0
    print("defect | level | says | caught by and how")
    for defect in DEFECTS:
        if not wanted or defect.id in wanted:
            outcome = run(defect)
            survivors += not outcome.is_caught
            print(outcome, flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
