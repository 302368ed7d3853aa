"""One measured figure, and a table of them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """What was measured, in which unit, and how it compares with what we want."""

    what: str
    values: list[float]
    unit: str
    bound: float
    more_is_better: bool = False
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def holds(self) -> bool:
        return self.value >= self.bound if self.more_is_better else self.value <= self.bound

    def as_json(self) -> dict[str, object]:
        return {
            "what": self.what,
            "median": round(self.value, 4),
            "values": [round(value, 4) for value in self.values],
            "unit": self.unit,
            "bound": self.bound,
            "holds": self.holds,
            "note": self.note,
        }


def table(figures: list[Figure]) -> str:
    """Figures as a Markdown table."""
    rows = ["| what | median | min..max | bound | |", "|---|---|---|---|---|"]
    for figure in figures:
        spread = f"{shown(min(figure.values))}..{shown(max(figure.values))}"
        sign = "≥" if figure.more_is_better else "≤"
        said = "holds" if figure.holds else "**missed**"
        said += f"; {figure.note}" if figure.note else ""
        unit = f" {figure.unit}" if figure.unit else ""
        bound = f"{sign} {shown(figure.bound)}"
        rows.append(f"| {figure.what} | {shown(figure.value)}{unit} | {spread} | {bound} | {said} |")
    return "\n".join(rows) + "\n"


def shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
