"""Tables as README wants them, and everything measured as JSON."""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path

from tests.bench.machine import load_average


def figure(value: object, digits: int = 1) -> str:
    """A number for people: three digits or so, `-` where there is none."""
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        if abs(value) >= 1000:
            return f"{value:,.0f}"
        return f"{value:.{0 if abs(value) >= 100 else digits}f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


@dataclass
class Table:
    """A title, a line on how it was measured, and rows."""

    title: str
    method: str
    columns: Sequence[str]
    rows: list[Sequence[object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: object) -> None:
        self.rows.append(cells)

    def text(self) -> str:
        """GitHub's Markdown, aligned for a terminal as well."""
        cells = [[str(column) for column in self.columns], *[[figure(cell) for cell in row] for row in self.rows]]
        widths = [max(len(row[at]) for row in cells) for at in range(len(self.columns))]
        lines = [f"### {self.title}", "", self.method, ""]
        for number, row in enumerate(cells):
            padded = [row[0].ljust(widths[0]), *[cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]]
            lines.append("| " + " | ".join(padded) + " |")
            if number == 0:
                lines.append("| " + " | ".join(["-" * widths[0], *["-" * (width - 1) + ":" for width in widths[1:]]]) + " |")
        return "\n".join([*lines, *([""] if self.notes else []), *[f"- {note}" for note in self.notes], ""])


@dataclass
class Report:
    """What one command found: printed as it comes, written at the end."""

    tables: list[Table] = field(default_factory=list)
    raw: dict[str, object] = field(default_factory=dict)
    failed: int = 0
    """Requests that failed where none may."""
    missed: list[str] = field(default_factory=list)
    """Targets that were not met, with their figures; told, never an error: this machine is not the reader's."""

    def show(self, table: Table) -> None:
        self.tables.append(table)
        print(table.text(), flush=True)

    def keep(self, name: str, value: object) -> None:
        self.raw[name] = value

    def target(self, what: str, value: float, limit: float, *, at_least: bool = False) -> None:
        """Hold a figure against a target of the project."""
        is_met = value >= limit if at_least else value <= limit
        sign = "≥" if at_least else "≤"
        if not is_met:
            self.missed.append(f"{what}: {figure(value, 2)}, wanted {sign} {figure(limit, 2)}")
        print(f"  {'met   ' if is_met else 'MISSED'} {what}: {figure(value, 2)} (wanted {sign} {figure(limit, 2)})", flush=True)

    def write(self, path: Path) -> None:
        content = {
            "machine": {"cpus": os.cpu_count(), "python": sys.version, "system": platform.platform(), "load": load_average()},
            "tables": [asdict(table) for table in self.tables],
            "missed": self.missed,
            "failed": self.failed,
            "raw": self.raw,
        }
        path.write_text(json.dumps(content, default=_plain, indent=1))


def _plain(value: object) -> object:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
