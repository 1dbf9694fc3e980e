"""The numbered SQL files under sql/, read and compared with what a database has already. The adapters run them.

Rules: a file that was released never changes (its checksum is kept); a release adds files. Expand first, contract a release
later: new columns are nullable or have a default and nothing the last release uses goes away, so that the release before
works on the new schema while replicas are replaced one by one. A database with more files than this release knows is fine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from proxy.errors import LedgerError

_NAME = re.compile(r"-- name: (\w+)\n")


@dataclass(frozen=True, slots=True)
class Migration:
    number: int
    name: str
    checksum: str
    """SHA-256 of the file in hex."""
    text: str


@cache
def migrations(kind: str) -> tuple[Migration, ...]:
    """All files of sql/migrations/<kind>, in order."""
    found = []
    for file in files("proxy.ledger").joinpath("sql", "migrations", kind).iterdir():
        if file.name.endswith(".sql"):
            text = file.read_text("utf-8")
            found.append(Migration(int(file.name[:4]), file.name, sha256(text.encode()).hexdigest(), text))
    return tuple(sorted(found, key=lambda each: each.number))


def missing(kind: str, applied: Mapping[int, str]) -> list[Migration]:
    """Those that a database still needs.

    Args:
        applied: number → checksum, as the database keeps them.

    Raises:
        LedgerError: one that was applied is not the file that we have.
    """
    needed = []
    for migration in migrations(kind):
        checksum = applied.get(migration.number)
        if checksum is None:
            needed.append(migration)
        elif checksum != migration.checksum:
            raise LedgerError(f"the ledger's schema is not ours: {migration.name} was applied with another content")
    return needed


@cache
def queries(kind: str) -> Mapping[str, str]:
    """The statements of sql/queries/<kind>.sql by name (`-- name: …` stands before each)."""
    text = files("proxy.ledger").joinpath("sql", "queries", f"{kind}.sql").read_text("utf-8")
    parts = _NAME.split(text)[1:]
    return {name: body.strip().rstrip(";") for name, body in zip(parts[::2], parts[1::2], strict=True)}
