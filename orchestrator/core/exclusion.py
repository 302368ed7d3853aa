"""A path that two lists of patterns cover and a third does not: the exact answer where `!` patterns are involved.

"Not covered" needs the complement of an automaton, so all three are followed at once, character by character, each as
the set of places it may be in (the subset construction), breadth first, so that the first path found is a short one.
Characters that no pattern tells apart are tried once. The number of such sets can grow beyond all measure, hence the
bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.core.letters import ANY, LAST, Spans, fold, has, pick
from orchestrator.core.patterns import Chars, Pattern, SearchGaveUp

STEP_LIMIT = 60_000  #: moves from one set of places to the next before the search is given up

SLASH = 1  #: the bit of `/` in a set of letters


class _Alphabet:
    """One letter for each kind of character that the patterns tell apart. Sets of letters are bit sets."""

    def __init__(self, patterns: Iterable[Pattern]) -> None:
        known = {ANY}
        for pattern in patterns:
            for part in pattern.segments:
                known |= {token.spans for token in part.tokens if token is not None} if part else set()
        bounds = sorted(
            {low for spans in known for low, _ in spans} | {high + 1 for spans in known for _, high in spans}
        )
        kinds: dict[tuple[Spans, ...], list[tuple[int, int]]] = {}
        for low, after in zip(bounds, [*bounds[1:], LAST + 1], strict=True):
            if low < after and (members := tuple(spans for spans in known if has(spans, low))):
                kinds.setdefault(members, []).append((low, after - 1))
        letters = [(char, members) for members, spans in kinds.items() if (char := pick(tuple(spans)))]
        letters.sort(key=lambda letter: (not letter[0].isalnum(), letter[0]))
        self.letters = ["/", *(char for char, _ in letters)]
        self._masks = dict.fromkeys(known, 0)
        for index, (_, members) in enumerate(letters, start=1):
            for spans in members:
                self._masks[spans] |= 1 << index

    def mask(self, spans: Spans) -> int:
        return self._masks[spans]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """Where the automata of some patterns begin and end, as sets of places."""

    places: int
    start: int
    end: int
    for_ever: int  #: places from which everything that follows is covered


class _Automata:
    """Places of all patterns in one numbering. An arc is a set of letters and the places it leads to."""

    def __init__(self, alphabet: _Alphabet) -> None:
        self.alphabet = alphabet
        self.arcs: list[list[tuple[int, int]]] = []

    def add(self, patterns: Sequence[Pattern]) -> _Side:
        first = len(self.arcs)
        start = end = for_ever = 0
        for pattern in patterns:
            begin, last, final = self._add_one(pattern)
            start, end, for_ever = start | begin, end | last, for_ever | final
        return _Side(places=(1 << len(self.arcs)) - (1 << first), start=start, end=end, for_ever=for_ever)

    def _add_one(self, pattern: Pattern) -> tuple[int, int, int]:
        inside = self.alphabet.mask(ANY)
        steps: list[Chars | str | None] = []
        for part in pattern.segments:
            steps += ["**"] if part is None else [*part.tokens, "/"]
        at = len(self.arcs) + sum(2 if step == "**" else 1 for step in steps)
        end = reach = 1 << at  # `reach`: the place itself and all that can be had from it without a letter
        for_ever = 0
        rows: list[list[tuple[int, int]]] = [[]]
        for step in reversed(steps):
            if step == "**":
                at -= 2
                between, within = 1 << at, 1 << (at + 1)
                is_last = reach == end
                reach |= between
                rows += [[(inside, within), (SLASH, reach)], [(inside, within)]]
                for_ever |= (between | within) if is_last else 0
            elif step is None:
                at -= 1
                reach |= 1 << at
                rows.append([(inside, reach)])
            else:
                at -= 1
                rows.append([(SLASH if isinstance(step, str) else self.alphabet.mask(step.spans), reach)])
                reach = 1 << at
        self.arcs += reversed(rows)
        return reach, end, for_ever


def path_outside(left: Sequence[Pattern], right: Sequence[Pattern], without: Sequence[Pattern]) -> str | None:
    """A path that some pattern of `left` and some of `right` cover and none of `without`; None when there is none.

    Raises: SearchGaveUp.
    """
    alphabet = _Alphabet([*left, *right, *without])
    automata = _Automata(alphabet)
    one, other, barred = automata.add(left), automata.add(right), automata.add(without)
    arcs, letters = automata.arcs, alphabet.letters

    def arcs_of(places: int) -> list[tuple[int, int]]:
        out: list[tuple[int, int]] = []
        while places:
            low = places & -places
            out += arcs[low.bit_length() - 1]
            places ^= low
        return out

    def letters_of(places: int) -> int:
        mask = 0
        for letter, _ in arcs_of(places):
            mask |= letter
        return mask

    # The second number: how many full stops the present name consists of, 3 when it can be a name.
    start = (one.start | other.start | barred.start, 0)
    came: dict[tuple[int, int], tuple[tuple[int, int], str] | None] = {start: None}
    todo = [start]
    steps = 0
    for state in todo:
        places, dots = state
        open_letters = letters_of(places & one.places) & letters_of(places & other.places)
        if dots != 3:
            open_letters &= ~SLASH
        ways = arcs_of(places)
        while open_letters:
            low = open_letters & -open_letters
            open_letters ^= low
            steps += 1
            if steps > STEP_LIMIT:
                raise SearchGaveUp
            reached = 0
            for mask, target in ways:
                if mask & low:
                    reached |= target
            if not reached & one.places or not reached & other.places or reached & barred.for_ever:
                continue
            letter = letters[low.bit_length() - 1]
            if low == SLASH and reached & one.end and reached & other.end and not reached & barred.end:
                return _as_written(_spell(came, state), [*left, *right])
            step = (reached, 0 if low == SLASH else min(dots + 1, 3) if letter == "." else 3)
            if step not in came:
                came[step] = (state, letter)
                todo.append(step)
    return None


def _spell(came: dict[tuple[int, int], tuple[tuple[int, int], str] | None], state: tuple[int, int]) -> str:
    chars, at = [], came[state]
    while at is not None:
        chars.append(at[1])
        at = came[at[0]]
    return "".join(reversed(chars))


def _as_written(path: str, patterns: Iterable[Pattern]) -> str:
    """The path with every name in it that a pattern spells out as that pattern writes it."""
    written = {
        part.key: part.text for pattern in patterns for part in pattern.segments if part is not None and part.is_literal
    }
    return "/".join(written.get(fold(name), name) for name in path.split("/"))
