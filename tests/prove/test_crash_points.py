"""A daemon dies at every named point, and at random moments: nothing is lost, doubled or left behind.

The points are found, not listed: whatever a daemon meets while the story is told, in recovery too, is one. Real git,
files, processes and SQLite.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.prove.crashes import hunt, killed_at_random, points_of, tell, told
from tests.prove.life import Nursery
from tests.prove.rig import Rig
from tests.prove.size import scaled

SHARES = 3  #: stories among which the points are shared, in the short form
SEED = 4
RANDOM_KILLS = 40
KILLS_OF_A_STORY = 20
PROVE_KILLS = 1000


def test_a_daemon_dies_at_every_point_and_nothing_is_lost_or_done_twice(tmp_path: Path, nursery: Nursery) -> None:
    chance = random.Random(SEED)
    hit: set[str] = set()
    met: set[str] = set()
    repeat = f"pytest {__file__} -k every_point"
    for share in range(SHARES):
        with told(tmp_path / f"share-{share}", nursery, repeat) as story:
            met |= hunt(story, hit, share, SHARES, chance)
    for again in range(3):  # what a share's own story came by only once, before its turn
        if not met - hit:
            break
        with told(tmp_path / f"rest-{again}", nursery, repeat) as story:
            met |= hunt(story, hit, 0, 1, chance)
    print(f"{len(met)} points, {len(hit)} crashes at named points")
    assert len(hit) > 250, "the rig hears less than it did"
    assert len(met - hit) <= len(met) // 50, f"nobody died at {sorted(met - hit)}"


@pytest.mark.parametrize("seed", range(RANDOM_KILLS // KILLS_OF_A_STORY))
def test_a_daemon_is_killed_at_random_moments(tmp_path: Path, nursery: Nursery, seed: int) -> None:
    with told(tmp_path, nursery, f"pytest '{__file__}' -k 'random_moments[{seed}]'") as story:
        killed_at_random(story, KILLS_OF_A_STORY, random.Random(seed))
