"""A person's records under an alias: every sum over several people stays as it was, and nothing says any more whose they were.

The records are written anew under ids of their own, and then the person's are deleted. The new ids follow from the old ones and the
alias, and the alias is kept until the end, so that a run that was broken off can be begun again and counts nothing twice. While it
runs, sums hold these records twice.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from hashlib import blake2b

from proxy.control.identifiers import make_uuid7
from proxy.ledger.ledger import Ledger, RecordFilter
from proxy.records import UsageRecord
from proxy.routing.callers import key_digest

BATCH = 500
_RUNNING = "anonymising:"


async def anonymise(ledger: Ledger, user: str) -> tuple[str, int]:
    """Returns the alias and the number of records.

    Raises:
        LedgerError: the ledger is away; ask again.
    """
    running = _RUNNING + key_digest(user)[:24]
    await ledger.add_setting(running, {"alias": f"anon-{secrets.token_hex(6)}"})
    kept = await ledger.setting(running)
    assert isinstance(kept, dict)
    alias = str(kept["alias"])
    waiting: list[UsageRecord] = []
    async for record in ledger.export(RecordFilter(user=user)):
        waiting.append(under_alias(record, alias))
        if len(waiting) >= BATCH:
            await ledger.append(waiting)
            waiting = []
    if waiting:
        await ledger.append(waiting)
    count = await ledger.forget_user(user)
    await ledger.delete_setting(running)
    return alias, count


def under_alias(record: UsageRecord, alias: str) -> UsageRecord:
    """The record without what names its person, or leads to them: labels, ids, keys."""
    digest = blake2b(f"{alias}:{record.id}".encode(), digest_size=10).digest()
    at = datetime.fromisoformat(record.started_at).timestamp()
    return record._replace(
        id=make_uuid7(at, int.from_bytes(digest) >> 6),
        user=alias,
        key_id=None,
        key_name=None,
        session=None,
        operation_id=None,
        tags=None,
        provider_request_id=None,
        billing_key=None,
        limit=None if _names(record.limit, record.user) else record.limit,
        error=None if _names(record.error, record.user) else record.error,
    )


def _names(text: str | None, user: str) -> bool:
    return text is not None and user in text
