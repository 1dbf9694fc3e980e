"""Which entry of a price list a model name means: the list's own clauses, and the spellings that names come in.

A clause is what the snapshot holds (JSON): `["equals", text]`, `["starts_with", text]`, `["ends_with", text]`,
`["contains", text]`, `["regex", pattern]`, `["or", clause…]`, `["and", clause…]`. Names are compared in lower case, the first
entry that matches wins: both as genai-prices does it, checked against its own matching over its whole list by a test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date

Clause = Sequence[object]

_COMPACT_DATE = re.compile(r"(-)(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
_DATED = re.compile(r"[-@](20\d{2}-\d{2}-\d{2}|20\d{6})$")


def is_match(clause: Clause, name: str) -> bool:
    """Whether a lower-case model name fits.

    Raises:
        ValueError: a kind of clause that this release does not know.
    """
    kind, *rest = clause
    if kind == "or":
        return any(is_match(_clause(part), name) for part in rest)
    if kind == "and":
        return all(is_match(_clause(part), name) for part in rest)
    text = str(rest[0])
    if kind == "regex":
        return re.search(text, name) is not None
    text = text.lower()
    if kind == "equals":
        return name == text
    if kind == "starts_with":
        return name.startswith(text)
    if kind == "ends_with":
        return name.endswith(text)
    if kind == "contains":
        return text in name
    raise ValueError(f"a price list clause of an unknown kind: {kind!r}")


def _clause(part: object) -> Clause:
    assert isinstance(part, list)
    return part


class NameIndex:
    """The entries of one provider by the names they answer to: equal names by dictionary, the rest in order."""

    __slots__ = ("_equal", "_ids", "_scan")

    def __init__(self, entries: Sequence[tuple[str, Clause]]) -> None:
        """Args:
        entries: (id, clause) in the order of the list.
        """
        self._equal: dict[str, int] = {}
        self._scan: list[tuple[int, Clause]] = []
        self._ids: dict[str, int] = {}
        for number, (entry_id, clause) in enumerate(entries):
            self._ids.setdefault(entry_id.lower(), number)
            parts = [_clause(part) for part in clause[1:]] if clause[0] == "or" else [clause]
            for part in parts:
                if part[0] == "equals":
                    self._equal.setdefault(str(part[1]).lower(), number)
                else:
                    self._scan.append((number, part))

    def find(self, name: str) -> int | None:
        """The number of the first entry whose clause fits a lower-case name."""
        found = self._match(name)
        if found is None and (dashed := _with_dashed_date(name)) != name:
            found = self._match(dashed)
        return found

    def find_id(self, name: str) -> int | None:
        """The number of the entry that has the name as its id: for names that no clause knows."""
        return self._ids.get(name)

    def _match(self, name: str) -> int | None:
        best = self._equal.get(name)
        for number, clause in self._scan:
            if best is not None and number >= best:
                break
            if is_match(clause, name):
                return number
        return best


def _with_dashed_date(name: str) -> str:
    """`gpt-5.2-20251211` as `gpt-5.2-2025-12-11`, where it is a date."""

    def dashed(found: re.Match[str]) -> str:
        year, month, day = (int(found.group(index)) for index in (2, 3, 4))
        try:
            return f"-{date(year, month, day).isoformat()}"
        except ValueError:
            return found.group(0)

    return _COMPACT_DATE.sub(dashed, name)


def without_date(name: str) -> str | None:
    """`gpt-4o-mini` of `gpt-4o-mini-2024-07-18`; None where the name ends in no date."""
    found = _DATED.search(name)
    return name[: found.start()] if found else None


def spellings(name: str, vendors: Sequence[str]) -> Iterator[str]:
    """Lower-case names to look for, the name as it came first.

    `models/gemini-2.5-pro`, `publishers/anthropic/models/claude-…`, `openai/gpt-4o` where OpenAI is asked, and
    `ft:gpt-4o-mini:org::id`, whose entry may be listed as `ft:gpt-4o-mini`.

    Args:
        vendors: whose models these are: prefixes that may be left out.
    """
    name = name.lower()
    yield name
    if "/models/" in name:
        yield name.rsplit("/models/", 1)[1]
    elif name.startswith(("models/", "tunedmodels/")):
        yield name.split("/", 1)[1]
    if name.startswith("ft:"):
        yield ":".join(name.split(":", 2)[:2])
    vendor, slash, bare = name.partition("/")
    if slash and vendor in vendors:
        yield bare
