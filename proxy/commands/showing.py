"""How answers are shown: JSON on standard output for scripts, tables for people, everything else on standard error.

What users and models are called comes from outside: control characters are taken out, and nothing is read as markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_WIDTH = 200
"""Of tables that go into a file or a pipe."""
UNKNOWN = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: its head, the field it shows (dotted for depth), and how."""

    head: str
    field: str
    kind: str = "text"
    """text, count, money, share, time, ms or id."""


def show_json(document: object) -> None:
    """The document as it came, readable and stable."""
    sys.stdout.write(json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def show_line(document: object) -> None:
    """One line of JSON, at once."""
    sys.stdout.write(json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """A line of the answer itself, to standard output."""
    sys.stdout.write(plain(text) + "\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """Something about the answer, to standard error."""
    sys.stderr.write(plain(text) + "\n")
    sys.stderr.flush()


def plain(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "�" for letter in text)


def _console() -> Console:
    from rich.console import Console

    is_terminal = sys.stdout.isatty()
    return Console(width=None if is_terminal else PLAIN_WIDTH, highlight=False, markup=False, soft_wrap=False)


def show_table(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], *, title: str = "", empty: str = "Nothing.") -> None:
    """Rows as a table; numbers to the right."""
    found = list(rows)
    if title:
        say(title)
    if not found:
        say(empty)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        is_number = column.kind in ("count", "money", "share", "ms")
        table.add_column(column.head, justify="right" if is_number else "left", no_wrap=is_number or column.kind in ("time", "id"))
    for row in found:
        table.add_row(*(Text(shown(value_at(row, column.field), column.kind)) for column in columns))
    _console().print(table)


def show_facts(facts: Sequence[tuple[str, object, str]]) -> None:
    """Name and value, one a line; (name, value, kind)."""
    width = max((len(name) for name, _, _ in facts), default=0)
    for name, value, kind in facts:
        say(f"{name.ljust(width)}  {shown(value, kind)}")


def value_at(row: Mapping[str, Any], path: str) -> Any:
    """A field, or a field of a field."""
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def shown(value: object, kind: str = "text") -> str:
    """A value as a person reads it; unknown is a dash and never 0."""
    if value is None:
        return UNKNOWN
    if kind == "money":
        return money(value)
    if kind == "share" and isinstance(value, int | float):
        return f"{value * 100:.1f} %"
    if kind == "ms" and isinstance(value, int | float):
        return f"{value:,.0f} ms" if value < 10_000 else f"{value / 1000:,.1f} s"
    if kind == "time":
        return str(value)[:19].replace("T", " ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return plain(", ".join(f"{name}: {shown(one)}" for name, one in value.items()))
    if isinstance(value, list | tuple):
        return plain(", ".join(shown(one) for one in value))
    return plain(str(value)) if str(value) else UNKNOWN


def money(value: object) -> str:
    """US dollars: cents from a dollar on, and as many digits as it takes below. A fraction of one never looks like 0."""
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return plain(str(value))
    if not amount:
        return "$0"
    sign = "−" if amount < 0 else ""
    amount = abs(amount)
    digits = 2 if amount >= 1 else 4 if amount >= Decimal("0.01") else 6
    rounded = round(amount, digits)
    return f"{sign}${rounded:,.{digits}f}" if rounded else f"{sign}<${Decimal(10) ** -digits:f}"


@contextmanager
def progress(what: str, total: int | None, *, is_shown: bool = True) -> Iterator[Progress]:
    """A bar on standard error while long work goes on; nothing where that is no terminal."""
    if not is_shown or not sys.stderr.isatty():
        yield Progress(None, None)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        yield Progress(bar, bar.add_task(what, total=total))


class Progress:
    """Told how far the work is."""

    def __init__(self, bar: Any, task: Any) -> None:
        self._bar = bar
        self._task = task

    def advance(self, count: int = 1) -> None:
        if self._bar is not None:
            self._bar.update(self._task, advance=count)
