"""A plan's story told by daemons that die again and again, at named points or at any moment."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.prove.life import Life, Nursery
from tests.prove.rig import CRASH, Rig, share_of, some_moment
from tests.prove.story import Story

STORY_S = 240.0  #: no story takes longer, however often its daemon dies
PACE_S = 0.02  #: between two looks of the person


@contextmanager
def told(nursery: Nursery, how_to_repeat: str) -> Iterator[Story]:
    """A story that has begun. What it left on disk stays when it fails, and it is said where."""
    with kept_when_it_fails(how_to_repeat) as folder:
        life = Life(folder, nursery)
        story = Story(life)
        try:
            story.begin()
            yield story
        finally:
            life.leave()


@contextmanager
def kept_when_it_fails(how_to_repeat: str) -> Iterator[Path]:
    """A folder for one case, which goes when all was well."""
    folder = Path(tempfile.mkdtemp(prefix="orchestrator-proof-"))
    try:
        yield folder
    except BaseException:
        print(f"\nfiles: {folder}\nrepeat: {how_to_repeat}")
        print((folder / "daemon.out").read_text()[-4000:] if (folder / "daemon.out").exists() else "")
        raise
    shutil.rmtree(folder)


def points_of(folder: Path) -> tuple[set[str], set[str]]:
    """Points that were met so far, and points at which a daemon died."""
    path = folder / "seen"
    lines = path.read_text().splitlines() if path.exists() else []
    return {line for line in lines if line[0] not in "!?"}, {line[1:] for line in lines if line[0] == "!"}


def tell(
    story: Story,
    next_rig: Callable[[], Rig],
    *,
    moment: Callable[[], float | None] = lambda: None,
    may_end: frozenset[int] = frozenset(),
) -> None:
    """Tell the story to its end; a daemon that died is followed by one with the next rig.

    Args:
        may_end: exit statuses of daemons that ended by themselves, with an error that says what a person can do.
        moment: how long the next daemon may live before it is killed from outside; None: as it wants.
    """
    life = story.life
    until = time.monotonic() + STORY_S
    killed_at: float | None = None
    while not story.is_over():
        if not life.is_alive():
            if life.ends:
                assert life.ends[-1] in {CRASH, -9} | may_end, f"a daemon ended by itself with {life.ends[-1]}"
            life.start(next_rig())
            longest = moment()
            killed_at = None if longest is None else time.monotonic() + longest
        story.step()
        if killed_at is not None and time.monotonic() > killed_at:
            life.kill(with_children=life.lives % 2 == 0)
            continue
        assert time.monotonic() < until, f"the story does not end: {life.tasks()} {life.open_items()}"
        time.sleep(PACE_S)
    story.life.kill()
    story.judge()


def hunt(story: Story, hit: set[str], share: int, of: int, chance: random.Random) -> set[str]:
    """Die at every point of a share that nobody died at yet, one after the other. Returns: its points that were met."""
    folder = story.life.folder

    def next_rig() -> Rig:
        hit.update(points_of(folder)[1])
        return Rig(seen=str(folder / "seen"), hunt=(share, of), spared=tuple(hit), by_signal=chance.random() < 0.3)

    tell(story, next_rig)
    met, died = points_of(folder)
    hit.update(died)
    return {point for point in met if share_of(point, of) == share}


def killed_at_random(story: Story, kills: int, chance: random.Random) -> None:
    """Kill daemons at random moments of their lives, one in four during its recovery."""
    left = kills

    def moment() -> float | None:
        nonlocal left
        left -= 1
        if left < 0:
            return None
        return some_moment(chance, 0.3 if chance.random() < 0.25 else 1.2)

    tell(story, lambda: Rig(seen=""), moment=moment)


def once_each(nursery: Nursery, chance: random.Random, how_to_repeat: str) -> int:
    """Let a daemon die at each point of an untroubled story, in a story of its own. Returns: how many there are."""
    with told(nursery, how_to_repeat) as story:
        seen = str(story.life.folder / "seen")
        tell(story, lambda: Rig(seen=seen))
        points = sorted(points_of(story.life.folder)[0])
    for point in points:
        with told(nursery, f"{how_to_repeat}  # {point}") as story:
            rigs = [Rig(only=(point,), skip=chance.choice((0, 0, 1, 3)), by_signal=chance.random() < 0.5)]
            if chance.random() < 0.25:
                rigs.append(Rig(at_event=chance.randrange(1, 60)))
            waiting = iter(rigs)
            tell(story, lambda waiting=waiting: next(waiting, Rig()))  # type: ignore[misc]
    return len(points)
