"""Warnings about what the target's files need and the trees of agents and checks will not have."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchestrator.core.gitsettings import LFS
from orchestrator.model.errors import Problem
from orchestrator.model.repo import RepoFacts


def content_warnings(facts: RepoFacts, file: str) -> Iterable[Problem]:
    """One for each filter, driver, program and kind of content that is not there, with the way to have it."""

    def warning(code: str, message: str, why: str, fix: str) -> Problem:
        return Problem(code=code, message=message, why=why, fix=fix, file=file, warning=True)

    for name in facts.filters_unset:
        if name == LFS:
            yield warning(
                "lfs_not_installed",
                "files of git-lfs are only pointers in every tree",
                "`.gitattributes` names the filter 'lfs', and your git is not configured for it",
                "install git-lfs, run `git lfs install` and `git lfs pull`; or go on if no task needs those files",
            )
        else:
            yield warning(
                "filter_unset",
                f"files of filter '{name}' are left as they are stored",
                f"`.gitattributes` names it, and no `filter.{name}.*` is in your git configuration",
                f"configure it as in `git config filter.{name}.clean COMMAND`, or go on if your checkout is so, too",
            )
    for name in facts.drivers_unset:
        yield warning(
            "merge_driver_unset",
            f"merge driver '{name}' is not configured, so its files are merged as text",
            f"`.gitattributes` names it, and there is no `merge.{name}.driver` in your git configuration",
            f"run `git config merge.{name}.driver COMMAND` (`true` keeps one side), or take it out of `.gitattributes`",
        )
    for what, program in facts.programs_missing.items():
        yield warning(
            "program_missing",
            f"{what} starts {program}, which is not there",
            "your git configuration names it; files that need it cannot be checked out, taken in or merged",
            "install it, put it on the PATH that the daemon is started with, or correct the configuration",
        )
    if facts.lfs_missing:
        yield warning(
            "lfs_missing",
            f"contents of git-lfs are missing for {_some(facts.lfs_missing)}",
            "trees are made without the network, so an attempt could not be prepared",
            f"run `git lfs fetch origin {facts.target}` in your checkout",
        )
    if facts.submodules_lacking:
        told = [f"{path} ({why})" for path, why in facts.submodules_lacking.items()]
        yield warning(
            "submodule_empty",
            f"submodules will be empty in every tree: {_some(told)}",
            "trees are filled from what your checkout has, without the network",
            "run `git submodule update --init --recursive` in your checkout, or go on if no task needs them",
        )
    if facts.signs_commits:
        yield warning(
            "unsigned_commits",
            "commits of the program are not signed, though `commit.gpgSign` is on",
            "nobody is there to type a passphrase when it merges, or commits what an agent left",
            "if your server wants signatures, use `publish: manual` and sign first: `git rebase -r -S --force-rebase "
            f"{facts.target or 'TARGET'} orchestrator/PLAN`",
        )


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
