"""A recording of everything that some processes did to one folder: writes, renames, syncs, in the order they ended.

`strace` follows a command and all it starts. What comes out is a list of operations on numbered nodes, from which
`disk.py` builds what a power loss could have left. Files under `-shm` are left out: SQLite maps them into memory and
makes them anew.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

STRACE = shutil.which("strace")
CALLS = (
    "openat,open,creat,close,dup,dup2,dup3,fcntl,lseek,write,pwrite64,writev,pwritev,copy_file_range,sendfile,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,ftruncate,truncate,"
    "fsync,fdatasync,sync_file_range,syncfs,sync,fallocate,chdir,fchdir,clone,clone3,fork,vfork"
)
LONGEST = 64 * 1024 * 1024  #: of one write that is recorded whole
_LINE = re.compile(r"(\d+)\s+(.*)\n?")
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+|\?)(.*)")
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"(\.\.\.)?')
_FD = re.compile(r"(-?\d+)(?:<([^>]*)>)?(\(deleted\))?")


@dataclass(frozen=True, slots=True)
class Name:
    """A name came, went or moved. From and to are (folder, name); either may be missing."""

    node: int
    gone: tuple[int, str] | None
    there: tuple[int, str] | None


@dataclass(frozen=True, slots=True)
class Write:
    node: int
    at: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """A file has another length now."""

    node: int
    size: int


@dataclass(frozen=True, slots=True)
class Sync:
    """What the node holds is on the disk. `out`: only on its way there, until anything at all is synced."""

    node: int
    out: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A line that a recorded program wrote into the marker file: what it had been promised by then."""

    text: str


Op = Name | Write | Cut | Sync | Mark


@dataclass(slots=True)
class Recording:
    """What was there, and what was done. Node 0 is the recorded folder itself."""

    root: Path
    folders: dict[int, dict[str, int]] = field(default_factory=dict)  #: before the recording
    contents: dict[int, bytes] = field(default_factory=dict)
    links: dict[int, str] = field(default_factory=dict)  #: symbolic links, of any time
    made_folders: set[int] = field(default_factory=set)
    ops: list[Op] = field(default_factory=list)

    def marks(self) -> list[str]:
        return [op.text for op in self.ops if isinstance(op, Mark)]


def record(
    argv: Sequence[str],
    *,
    root: Path,
    marker: Path,
    log: Path,
    env: Mapping[str, str],
    cwd: Path,
    timeout_s: float,
    code: int = 0,
) -> Recording:
    """Run a command, which ends with that code, and record what it and all it starts do below `root`."""
    assert STRACE is not None
    root = root.resolve()
    recording, parser = _base(root), None
    parser = _Parser(recording, root, marker.resolve(), cwd.resolve())
    traced = [STRACE, "-f", "--seccomp-bpf", "-y", "-xx", "-s", str(LONGEST), "-o", str(log), "-e", f"trace={CALLS}"]
    done = subprocess.run(
        [*traced, "-e", "signal=none", "--", *argv],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode != code:
        raise AssertionError(f"{argv} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    with log.open(encoding="ascii", errors="replace") as lines:
        for line in lines:
            parser.take(line)
    return recording


def _base(root: Path) -> Recording:
    recording = Recording(root)
    nodes: dict[Path, int] = {root: 0}
    recording.folders[0] = {}
    for here, folders, files in os.walk(root):
        inside = recording.folders[nodes[Path(here)]]
        for name in sorted((*folders, *files)):
            path, node = Path(here, name), len(nodes)
            nodes[path] = node
            inside[name] = node
            if path.is_symlink():
                recording.links[node] = os.readlink(path)
            elif path.is_dir():
                recording.folders[node] = {}
                recording.made_folders.add(node)
            elif path.is_file():
                recording.contents[node] = path.read_bytes()
    return recording


@dataclass(slots=True)
class _Open:
    """An open file: shared by whoever inherited it."""

    node: int
    at: int
    appends: bool


@dataclass(slots=True)
class _Process:
    cwd: Path
    files: dict[int, _Open] = field(default_factory=dict)


class _Parser:
    def __init__(self, recording: Recording, root: Path, marker: Path, cwd: Path) -> None:
        self._recording = recording
        self._root = str(root)
        self._marker = str(marker)
        self._names = {node: dict(inside) for node, inside in recording.folders.items()}
        self._contents = {node: bytearray(data) for node, data in recording.contents.items()}
        self._next = 1 + max((n for inside in self._names.values() for n in inside.values()), default=0)
        self._processes: dict[int, _Process] = {}
        self._first_cwd = cwd
        self._unfinished: dict[int, str] = {}
        self._born_early: dict[int, int] = {}  #: a child that was seen before its birth was: -> its parent

    def take(self, line: str) -> None:
        if (found := _LINE.match(line)) is None:
            return
        pid, text = int(found[1]), found[2]
        if text.endswith("<unfinished ...>"):
            self._process(pid)
            self._unfinished[pid] = text.removesuffix("<unfinished ...>")
            return
        if (resumed := _RESUMED.match(text)) is not None:
            text = self._unfinished.pop(pid, f"{resumed[1]}(") + resumed[2]
        if (call := _CALL.match(text)) is None or call[3] == "?":
            return
        name, args, result = call[1], call[2], int(call[3])
        process = self._process(pid)
        if result >= 0:
            self._do(process, name, args, result, pid)

    def _process(self, pid: int) -> _Process:
        known = self._processes.get(pid)
        if known is None:
            # it runs before its parent's call is back: whoever is in the middle of such a call is its parent
            text = ("clone", "fork", "vfork")
            parents = [p for p, said in self._unfinished.items() if said.startswith(text)]
            known = self._child(parents[-1], self._unfinished[parents[-1]]) if parents else _Process(self._first_cwd)
            self._processes[pid] = known
        return known

    def _child(self, parent: int, said: str) -> _Process:
        mother = self._processes[parent]
        if "CLONE_FILES" in said:  # a thread
            return mother
        return _Process(mother.cwd, dict(mother.files))

    def _do(self, process: _Process, name: str, args: str, result: int, pid: int) -> None:
        match name:
            case "clone" | "clone3" | "fork" | "vfork":
                if result not in self._processes:
                    self._processes[result] = self._child(pid, f"{name}({args}")
            case "chdir":
                process.cwd = Path(os.path.normpath(process.cwd / self._texts(args)[0]))
            case "fchdir":
                process.cwd = Path(self._annotated(args) or process.cwd)
            case "openat" | "open" | "creat":
                self._open(process, name, args, result)
            case "close":
                process.files.pop(int(_FD.match(args)[1]), None)  # type: ignore[index]
            case "dup" | "dup2" | "dup3":
                self._dup(process, int(_FD.match(args)[1]), result)  # type: ignore[index]
            case "fcntl" if "F_DUPFD" in args:
                self._dup(process, int(_FD.match(args)[1]), result)  # type: ignore[index]
            case "lseek":
                if (file := process.files.get(int(_FD.match(args)[1]))) is not None:  # type: ignore[index]
                    file.at = result
            case "write" | "pwrite64" | "writev" | "pwritev" | "copy_file_range" | "sendfile":
                self._write(process, name, args, result)
            case "fsync" | "fdatasync" | "sync_file_range":
                if (node := self._node_of(self._annotated(args))) is not None:
                    self._note(Sync(node, out=name == "sync_file_range"))
            case "syncfs" | "sync":
                for node in range(self._next):
                    self._note(Sync(node))
            case "ftruncate" | "truncate" | "fallocate":
                self._truncate(process, name, args)
            case "fcntl":
                pass
            case _:
                self._rename(process, name, args)

    # ---- names ----

    def _texts(self, args: str) -> list[str]:
        return [os.fsdecode(_bytes(found[1])) for found in _TEXT.finditer(args)]

    def _annotated(self, args: str) -> str | None:
        """The path behind the first descriptor; None when it is no file with a name."""
        found = _FD.match(args)
        if found is None or found[2] is None or found[3]:
            return None
        path = os.fsdecode(_bytes(found[2]))
        return path if path.startswith("/") else None

    def _place(self, path: str) -> tuple[int, str] | None:
        """The folder's node and the name; None outside of what is recorded."""
        if not path.startswith(f"{self._root}/") or path.endswith("-shm"):
            return None
        *above, last = path[len(self._root) + 1 :].split("/")
        node = 0
        for part in above:
            inside = self._names.get(node)
            if inside is None or part not in inside:
                return None
            node = inside[part]
        return (node, last) if node in self._names else None

    def _node_of(self, path: str | None) -> int | None:
        if path is None:
            return None
        if path == self._root:
            return 0
        place = self._place(path)
        return self._names[place[0]].get(place[1]) if place is not None else None

    def _paths(self, process: _Process, name: str, args: str) -> list[str]:
        """The paths of a call, each made absolute by the folder that it is relative to."""
        found: list[str] = []
        bases = [os.fsdecode(_bytes(m)) for m in re.findall(r"(?:AT_FDCWD|(?<![\w\\])\d+)<([^>]*)>, \"", args)]
        for number, text in enumerate(self._texts(args)):
            base = bases[number] if number < len(bases) and name.endswith(("at", "at2")) else str(process.cwd)
            found.append(os.path.normpath(os.path.join(base, text)))
        return found

    def _rename(self, process: _Process, name: str, args: str) -> None:
        paths = self._paths(process, name, args)
        match name:
            case "mkdir" | "mkdirat":
                self._make(paths[0], folder=True)
            case "symlink" | "symlinkat":
                to = os.path.normpath(os.path.join(process.cwd, self._texts(args)[-1]))
                if (node := self._make(to)) is not None:
                    self._recording.links[node] = self._texts(args)[0]
            case "unlink" | "unlinkat" | "rmdir":
                self._move(self._place(paths[0]), None)
            case "link" | "linkat":
                node, place = self._node_of(paths[0]), self._place(paths[1])
                if place is not None:
                    if node is None:  # from outside, as a clone by hard links does
                        node = self._fresh(_read(paths[0]))
                    self._put(node, None, place)
            case _:
                source, target = self._place(paths[0]), self._place(paths[1])
                if source is None and target is not None:
                    self._make(paths[1], data=_read(paths[1]))
                else:
                    self._move(source, target)

    def _fresh(self, data: bytes | None = None, *, folder: bool = False) -> int:
        node, self._next = self._next, self._next + 1
        if folder:
            self._names[node] = {}
            self._recording.made_folders.add(node)
        else:
            self._contents[node] = bytearray()
            if data:
                self._put_data(node, 0, data)
        return node

    def _make(self, path: str, *, folder: bool = False, data: bytes | None = None) -> int | None:
        place = self._place(path)
        if place is None:
            return None
        node = self._fresh(data, folder=folder)
        self._put(node, None, place)
        return node

    def _move(self, source: tuple[int, str] | None, target: tuple[int, str] | None) -> None:
        if source is None or source[1] not in self._names[source[0]]:
            return
        node = self._names[source[0]][source[1]]
        if target is not None and self._names[target[0]].get(target[1]) == node:
            return  # two names of one file: a rename does nothing
        del self._names[source[0]][source[1]]
        self._put(node, source, target)

    def _put(self, node: int, gone: tuple[int, str] | None, there: tuple[int, str] | None) -> None:
        if there is not None:
            self._names[there[0]][there[1]] = node
        self._note(Name(node, gone, there))

    # ---- contents ----

    def _open(self, process: _Process, name: str, args: str, result: int) -> None:
        process.files.pop(result, None)
        path = self._paths(process, name, args)[0]
        place = self._place(path)
        if place is None:
            return
        node = self._names[place[0]].get(place[1])
        if node is None:
            if "O_CREAT" not in args and name != "creat":
                return
            node = self._fresh()
            self._put(node, None, place)
        elif ("O_TRUNC" in args or name == "creat") and self._contents.get(node):
            self._shorten(node, 0)
        process.files[result] = _Open(node, 0, "O_APPEND" in args)

    def _dup(self, process: _Process, old: int, new: int) -> None:
        if old in process.files:
            process.files[new] = process.files[old]
        else:
            process.files.pop(new, None)

    def _write(self, process: _Process, name: str, args: str, count: int) -> None:
        if name == "copy_file_range":
            return self._copy(process, args, count, target=2)
        if name == "sendfile":
            return self._copy(process, args, count, target=0)
        path = self._annotated(args)
        if path == self._marker:
            data = b"".join(_bytes(found[1]) for found in _TEXT.finditer(args))
            self._recording.ops.extend(Mark(line) for line in data.decode(errors="replace").splitlines())
            return None
        if (node := self._node_of(path)) is None or node not in self._contents:
            return None
        data = b"".join(_bytes(found[1]) for found in _TEXT.finditer(args))[:count]
        if name in {"pwrite64", "pwritev"}:
            return self._put_data(node, int(args.rsplit(", ", 1)[1]), data)
        file = process.files.get(int(_FD.match(args)[1]))  # type: ignore[index]
        if file is None or file.node != node or file.appends:
            return self._put_data(node, len(self._contents[node]), data)
        self._put_data(node, file.at, data)
        file.at += len(data)
        return None

    def _copy(self, process: _Process, args: str, count: int, *, target: int) -> None:
        """A copy that the kernel made: what the source held is looked up, here or on the disk."""
        words = args.split(", ")
        to, source = self._annotated(words[target]), self._annotated(words[1 if target == 0 else 0])
        node = self._node_of(to)
        if node is None or source is None:
            return
        known = self._node_of(source)
        data = bytes(self._contents[known]) if known is not None else _read(source) or b""
        at = len(self._contents[node])
        self._put_data(node, at, data[at : at + count])

    def _put_data(self, node: int, at: int, data: bytes) -> None:
        if data:
            held = self._contents[node]
            held.extend(bytes(max(0, at - len(held))))
            held[at : at + len(data)] = data
            self._note(Write(node, at, data))

    def _truncate(self, process: _Process, name: str, args: str) -> None:
        path = self._paths(process, name, args)[0] if name == "truncate" else self._annotated(args)
        node = self._node_of(path)
        if node is not None and node in self._contents:
            numbers = [int(word) for word in re.findall(r"\d+", re.split(r'[>"]', args)[-1])]
            if not numbers:
                return  # it did not say how long the file is to be: it was cut off by the kill of its thread
            self._shorten(node, sum(numbers[-2:]) if name == "fallocate" else numbers[-1])

    def _shorten(self, node: int, size: int) -> None:
        held = self._contents[node]
        del held[size:]
        held.extend(bytes(size - len(held)))
        self._note(Cut(node, size))

    def _note(self, op: Op) -> None:
        self._recording.ops.append(op)


def _bytes(text: str) -> bytes:
    """What strace spells as `\\x2f\\x61`."""
    return bytes.fromhex(text.replace("\\x", "")) if text.startswith("\\x") else text.encode()


def _read(path: str) -> bytes | None:
    try:
        return Path(path).read_bytes()
    except OSError:
        return None


def each_mark(recording: Recording, until: int) -> Iterator[str]:
    """What had been promised before the cut."""
    return (op.text for op in recording.ops[:until] if isinstance(op, Mark))
