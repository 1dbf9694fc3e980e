"""GET users/{id}/export and DELETE users/{id}/data: a person's data, out and away."""

from __future__ import annotations

from aiohttp import web

from proxy.control.audit import note
from proxy.control.auth import identity_of
from proxy.control.context import context_of
from proxy.control.overrides import PREFIX as OVERRIDE_PREFIX
from proxy.control.parameters import Choice, path_text, read_query
from proxy.control.periods import iso
from proxy.control.replies import json_reply
from proxy.control.routes import Route
from proxy.control.usage_export import stream_records
from proxy.ledger.ledger import RecordFilter, StoredKey
from proxy.routing.callers import key_digest

_FORMAT = Choice("format", "jsonl is exact; csv is for spreadsheets.", "jsonl", choices=("csv", "jsonl"))


async def export_user(request: web.Request) -> web.StreamResponse:
    user = path_text(request, "id")
    identity_of(request).require(user)
    values = read_query(request, (_FORMAT,))
    records = context_of(request).ledger.export(RecordFilter(user=user))
    return await stream_records(request, records, values["format"], "user-data")


async def delete_user(request: web.Request) -> web.Response:
    context, user = context_of(request), path_text(request, "id")
    read_query(request, ())
    # The audit line names the person by digest: it must outlive the data without being data itself.
    await note(request, "erase user data", f"user-sha256:{key_digest(user)[:16]}")
    record_count = await context.ledger.forget_user(user)
    await context.ledger.delete_setting(OVERRIDE_PREFIX + user)
    key_count = 0
    for key in await context.ledger.keys():
        if key.user == user:
            await context.ledger.put_key(_emptied(key, iso(context.now())))
            key_count += 1
    await context.refresh()
    return json_reply({"user": user, "records": record_count, "keys_revoked": key_count})


def _emptied(key: StoredKey, at: str) -> StoredKey:
    """The digest stays, so that the key does not come back as somebody's own; whose it was does not."""
    return StoredKey(key.key_id, key.key_sha256, "erased", created_at=key.created_at, revoked_at=key.revoked_at or at)


ROUTES = (
    Route("GET", "/users/{id}/export", export_user, "user", "A person's records, streamed", "csv+jsonl", (_FORMAT,)),
    Route("DELETE", "/users/{id}/data", delete_user, "admin", "A person's data away", "Erased"),
)
