"""A daemon dies at every named point, and at random moments: nothing is lost, doubled or left behind.

The points are found, not listed: whatever a daemon meets while the story is told, in recovery too, is one. Real git,
files, processes and SQLite.
"""

from __future__ import annotations

import random

import pytest

from tests.prove.crashes import hunt, killed_at_random, once_each, told
from tests.prove.life import Nursery
from tests.prove.size import scaled

SHARES = 4  #: stories among which the points are shared, in the short form
LEAST = 40  #: points of a share; fewer would mean that the rig hears less than it did
STORIES_OF_A_SHARE = 3
RANDOM_KILLS = 40
KILLS_OF_A_STORY = 20
PROVE_KILLS = 1000
PROVE_ROUNDS = 2


@pytest.mark.parametrize("share", range(SHARES))
def test_a_daemon_dies_at_every_point_and_nothing_is_lost_or_done_twice(nursery: Nursery, share: int) -> None:
    hit: set[str] = set()
    met: set[str] = set()
    chance = random.Random(share)
    for _ in range(STORIES_OF_A_SHARE):  # what a story came by once, before its daemons were to die at it
        with told(nursery, f"pytest '{__file__}' -k 'every_point and {share}'") as story:
            met |= hunt(story, hit, share, SHARES, chance)
        if not met - hit:
            break
    print(f"share {share}: {len(met)} points, {len(hit)} daemons died at one")
    assert len(hit) > LEAST
    assert len(met - hit) <= len(met) // 50, f"nobody died at {sorted(met - hit)}"


@pytest.mark.parametrize("seed", range(RANDOM_KILLS // KILLS_OF_A_STORY))
def test_a_daemon_is_killed_at_random_moments(nursery: Nursery, seed: int) -> None:
    with told(nursery, f"pytest '{__file__}' -k 'random_moments and {seed}'") as story:
        killed_at_random(story, KILLS_OF_A_STORY, random.Random(seed))


@pytest.mark.prove
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(100, 100 + PROVE_ROUNDS))
def test_each_point_alone_is_recovered_from(nursery: Nursery, seed: int) -> None:
    """Every point by itself, at a random one of its occurrences; one in four daemons dies in its recovery too."""
    repeat = f"PROVE_SCALE=1 pytest -m prove '{__file__}' -k 'alone and {seed}'"
    number = once_each(nursery, random.Random(seed), repeat)
    print(f"seed {seed}: {number} points, each in a story of its own")


@pytest.mark.prove
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(1000, 1000 + scaled(PROVE_KILLS // KILLS_OF_A_STORY)))
def test_a_daemon_is_killed_at_many_random_moments(nursery: Nursery, seed: int) -> None:
    with told(nursery, f"pytest -m prove '{__file__}' -k 'many_random and {seed}'") as story:
        killed_at_random(story, KILLS_OF_A_STORY, random.Random(seed))
