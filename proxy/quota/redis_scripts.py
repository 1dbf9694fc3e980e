"""The Lua scripts, and commands that run them.

A command is EVALSHA; where the server does not know the script (it restarted, or forgot its scripts) the same command is sent
again as EVAL, which teaches it. So nothing has to be loaded beforehand, and servers that forbid SCRIPT work as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Script:
    """One script: how it is called by name (the SHA-1 of its text, so a new text is a new name) and in full."""

    name: str
    by_sha: bytes
    in_full: bytes


class Command(NamedTuple):
    """A script's call, encoded."""

    script: Script
    header: bytes
    """Of the RESP array."""
    tail: bytes
    """Number of keys, keys, arguments."""

    def by_sha(self) -> bytes:
        """As EVALSHA."""
        return self.header + self.script.by_sha + self.tail

    def in_full(self) -> bytes:
        """As EVAL."""
        return self.header + self.script.in_full + self.tail


def bulk(word: str | bytes) -> bytes:
    """One RESP bulk string."""
    encoded = word.encode() if isinstance(word, str) else word
    return b"$%d\r\n%b\r\n" % (len(encoded), encoded)


def bulks(words: Sequence[str]) -> bytes:
    """Several of them."""
    return b"".join([bulk(word) for word in words])


def command(script: Script, keys: Sequence[str], arguments: Sequence[str]) -> Command:
    """A call with these keys and arguments."""
    tail = bulk(str(len(keys))) + bulks(keys) + bulks(arguments)
    return Command(script, b"*%d\r\n" % (3 + len(keys) + len(arguments)), tail)


def _load(name: str) -> Script:
    folder = files("proxy.quota") / "lua"
    text = (folder / "shared.lua").read_bytes() + b"\n" + (folder / f"{name}.lua").read_bytes()
    digest = sha1(text, usedforsecurity=False).hexdigest()
    return Script(name, bulk("EVALSHA") + bulk(digest), bulk("EVAL") + bulk(text))


RESERVE = _load("reserve")
SETTLE = _load("settle")
RENEW = _load("renew")
COUNT = _load("count")
