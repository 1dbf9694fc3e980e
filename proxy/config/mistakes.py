"""A mistake in a file of the operator's: where it is, what is wrong, what to write instead.

Rules of this file: a message names the setting by its path and never repeats a value that could be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from proxy.errors import ConfigError

Path = tuple[str | int, ...]
"""Where something stands in a document: ("users", "alice", "tokens", "per_day")."""


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing to correct. Lines and columns count from 1, as editors do."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class ConfigErrors(ConfigError):
    """Every mistake of every file, in reading order."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(set(mistakes)))
        super().__init__("\n".join(map(str, self.mistakes)))


@dataclass(frozen=True, slots=True)
class Finding:
    """A mistake that still needs its place: found in the values, placed by the text."""

    path: Path
    message: str
    is_about_key: bool = False
    """The name at the end of the path is what is wrong, not what it stands for."""


def path_text(path: Path) -> str:
    """`users.alice.tokens.per_day`, `keys[3].user`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{shown(part)}" if text else shown(part)
    return text


_PLAIN = re.compile(r"[\w .*?/@:+\-\[\]!]{1,60}\Z")
_SECRET = re.compile(r"(sk|wb|rk|pk|gsk|xai|hf|key|AIza|eyJ|ya29|ghp|r8|tgp|csk|pplx)[-_.]?[\w.\-]{16,}|[0-9a-zA-Z_\-]{32,}")


def shown(text: str) -> str:
    """A name from the file as a message may repeat it: not where it looks like a credential."""
    if looks_secret(text):
        return text[:3] + "…"
    return text if _PLAIN.match(text) else "".join(c if c.isprintable() else "�" for c in text[:40])


def looks_secret(text: str) -> bool:
    """Whether this may be a key in clear."""
    return _SECRET.search(text) is not None


def suggestion(name: str, known: Sequence[str]) -> str:
    """` did you mean …?` or the list of what there is, to put after a semicolon."""
    close = get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.6) or get_close_matches(
        name.lower(), known, n=1, cutoff=0.6
    )
    if close:
        return f"did you mean `{close[0]}`?"
    return "write one of: " + ", ".join(known) if known else "take it out"


def kind_of(value: object) -> str:
    """What a value is, in the operator's words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, str):
        return "text"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    return "a number"
