"""`${NAME}` and `${NAME:-default}` in strings of providers.yaml. `$${` stands for a plain `${`."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class MissingVariable(Exception):
    """A variable that has no value and no default; the environment says nothing about it, or says it is empty."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class MalformedReference(ValueError):
    """`${…` that is no reference; the message says what to write."""


def expand(text: str, environ: Mapping[str, str]) -> str:
    """The text with every reference replaced. A variable that is set but empty counts as not set.

    Raises:
        MissingVariable: the first one that has neither value nor default.
        MalformedReference: the syntax is wrong.
    """
    if "${" not in text:
        return text
    expanded, end = _expand(text, 0, environ, is_nested=False)
    assert end == len(text)
    return expanded


def _expand(text: str, at: int, environ: Mapping[str, str], *, is_nested: bool, is_wanted: bool = True) -> tuple[str, int]:
    """Up to the end, or to the `}` that closes the default being read. What is not wanted is only checked."""
    parts: list[str] = []
    while at < len(text):
        if text.startswith("$${", at):
            parts.append("${")
            at += 3
        elif text.startswith("${", at):
            value, at = _reference(text, at, environ, is_wanted)
            parts.append(value)
        elif is_nested and text[at] == "}":
            return "".join(parts), at
        else:
            parts.append(text[at])
            at += 1
    if is_nested:
        raise MalformedReference("a `${` is not closed; write ${NAME} or ${NAME:-default}")
    return "".join(parts), at


def _reference(text: str, at: int, environ: Mapping[str, str], is_wanted: bool) -> tuple[str, int]:
    found = _NAME.match(text, at + 2)
    if found is None:
        raise MalformedReference("a `${` is not followed by a name; write ${NAME}, or $${ for the characters themselves")
    name, at = found.group(), found.end()
    value = environ.get(name, "").strip()
    if text.startswith(":-", at):
        default, at = _expand(text, at + 2, environ, is_nested=True, is_wanted=is_wanted and not value)
        return value or default, at + 1
    if not text.startswith("}", at):
        raise MalformedReference("a `${` is not closed; write ${NAME} or ${NAME:-default}")
    if not value and is_wanted:
        raise MissingVariable(name)
    return value, at + 1


def variables(text: str) -> list[str]:
    """The names a text refers to, for messages."""
    return list(re.findall(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)", text))
