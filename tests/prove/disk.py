"""What is on a disk after the power went: everything that was synced, and any part of the rest.

Two manners. ORDERED is a journalling file system such as ext4 as it comes: the changes of names are written in one
order, so a beginning of them survives, and syncing anything writes all of them that went before. ADVERSARIAL is what
POSIX promises and no more: a name is safe when its own folder was synced, and of the others any may be missing (the
class of faults that ALICE looked for, OSDI 2014). In both, contents that were not synced may be missing, cut, written
out of order, or torn in pieces of 512 bytes. A rename is whole or not there, in both.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from tests.prove.writelog import Cut, Mark, Name, Recording, Sync, Write

SECTOR = 512


class Manner(StrEnum):
    ORDERED = "ordered"
    ADVERSARIAL = "adversarial"


@dataclass(slots=True)
class Disk:
    """The state at one moment: what is safe, and what is not yet."""

    recording: Recording
    manner: Manner
    folders: dict[int, dict[str, int]] = field(default_factory=dict)
    contents: dict[int, bytearray] = field(default_factory=dict)
    names: list[Name] = field(default_factory=list)  #: not safe yet, in order
    data: dict[int, list[Write | Cut]] = field(default_factory=dict)  #: not safe yet
    leaving: dict[int, int] = field(default_factory=dict)  #: so many of a node's are safe with the next sync of any
    done: int = 0

    @classmethod
    def at_first(cls, recording: Recording, manner: Manner) -> Disk:
        disk = cls(recording, manner)
        disk.folders = {node: dict(inside) for node, inside in recording.folders.items()}
        disk.contents = {node: bytearray(data) for node, data in recording.contents.items()}
        return disk

    def forward(self, to: int) -> None:
        """Let everything happen up to that operation."""
        for op in self.recording.ops[self.done : to]:
            match op:
                case Name():
                    self.names.append(op)
                case Write() | Cut():
                    self.data.setdefault(op.node, []).append(op)
                case Sync():
                    self._sync(op)
                case Mark():
                    pass
        self.done = max(self.done, to)

    def _sync(self, op: Sync) -> None:
        if op.out:
            self.leaving[op.node] = len(self.data.get(op.node, ()))
            return
        for node, count in self.leaving.items():
            for change in self.data.get(node, [])[:count]:
                _apply(self.contents, change)
            self.data[node] = self.data.get(node, [])[count:]
        self.leaving.clear()
        for change in self.data.pop(op.node, ()):
            _apply(self.contents, change)
        rest = []
        for name in self.names:
            touched = {place[0] for place in (name.gone, name.there) if place is not None}
            if self.manner is Manner.ORDERED or op.node in touched:
                _name(self.folders, name)
            else:
                rest.append(name)
        self.names = rest

    def crash(self, chance: random.Random) -> tuple[dict[int, dict[str, int]], dict[int, bytearray]]:
        """One of the many things that may be there when the power comes back."""
        folders = {node: dict(inside) for node, inside in self.folders.items()}
        for name in self._surviving_names(chance):
            _name(folders, name)
        contents = dict(self.contents)
        style = chance.choice(("none", "all", "prefix", "subset", "torn"))
        for node, changes in self.data.items():
            if style == "none" or not changes:
                continue
            contents[node] = bytearray(contents.get(node, b""))
            for change in _surviving(changes, style, chance):
                _apply(contents, change)
        return folders, contents

    def _surviving_names(self, chance: random.Random) -> list[Name]:
        style = chance.choice(("none", "all", "prefix", "prefix"))
        if self.manner is Manner.ADVERSARIAL and chance.random() < 0.6:
            kept = chance.choice((0.1, 0.5, 0.9))
            return [name for name in self.names if chance.random() < kept]
        if style == "prefix":
            return self.names[: chance.randrange(len(self.names) + 1)]
        return self.names if style == "all" else []


def _surviving(changes: list[Write | Cut], style: str, chance: random.Random) -> list[Write | Cut]:
    if style == "all":
        return changes
    if style == "prefix":
        return changes[: chance.randrange(len(changes) + 1)]
    kept: list[Write | Cut] = []
    for change in changes:
        if chance.random() < 0.5:
            continue
        if style == "torn" and isinstance(change, Write) and chance.random() < 0.5:
            first = chance.randrange(len(change.data) // SECTOR + 1) * SECTOR
            last = first + chance.randrange((len(change.data) - first) // SECTOR + 1) * SECTOR
            kept.append(Write(change.node, change.at + first, change.data[first:last]))
        else:
            kept.append(change)
    return kept


def _apply(contents: dict[int, bytearray], change: Write | Cut) -> None:
    held = contents.setdefault(change.node, bytearray())
    if isinstance(change, Cut):
        del held[change.size :]
        held.extend(bytes(change.size - len(held)))
    elif change.data:
        held.extend(bytes(max(0, change.at - len(held))))
        held[change.at : change.at + len(change.data)] = change.data


def _name(folders: dict[int, dict[str, int]], change: Name) -> None:
    if change.gone is not None:
        inside = folders.setdefault(change.gone[0], {})
        if inside.get(change.gone[1]) == change.node:
            del inside[change.gone[1]]
    if change.there is not None:
        folders.setdefault(change.there[0], {})[change.there[1]] = change.node


def lay_out(
    recording: Recording,
    image: tuple[dict[int, dict[str, int]], dict[int, bytearray]],
    to: Path,
    wanted: Callable[[str], bool] = lambda path: True,
) -> None:
    """Write an image into a folder, which is emptied first. `wanted` says which paths below the root are needed."""
    folders, contents = image
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    todo = [(0, to, "")]
    while todo:
        node, here, path = todo.pop()
        for name, inside in folders.get(node, {}).items():
            below = f"{path}{name}"
            if not wanted(below):
                continue
            if inside in recording.made_folders:
                (here / name).mkdir()
                todo.append((inside, here / name, f"{below}/"))
            elif inside in recording.links:
                os.symlink(recording.links[inside], here / name)
            else:
                (here / name).write_bytes(contents.get(inside, b""))
