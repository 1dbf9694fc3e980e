"""GET users/{id}/export and DELETE users/{id}/data: a person's data, out and away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import orjson
from aiohttp import web

from proxy.control.alerts.alert import JOURNAL as ALERTS
from proxy.control.anonymise import anonymise
from proxy.control.archive import zip_chunks
from proxy.control.audit import note
from proxy.control.auth import identity_of
from proxy.control.context import Context, context_of
from proxy.control.figures import averages, totals
from proxy.control.overrides import PREFIX as OVERRIDE_PREFIX
from proxy.control.overrides import override_of
from proxy.control.parameters import Choice, path_text, read_query
from proxy.control.people import user_limits
from proxy.control.periods import iso
from proxy.control.replies import json_reply
from proxy.control.routes import Route
from proxy.control.usage_export import chunks, stream_records
from proxy.control.usage_summary import grouped, total_of
from proxy.ledger.ledger import RecordFilter, StoredKey
from proxy.routing.callers import key_digest

_FORMAT = Choice(
    "format",
    "zip: everything in one archive; jsonl: the records, exact; csv: the records, for spreadsheets.",
    "jsonl",
    choices=("csv", "jsonl", "zip"),
)
_MODE = Choice(
    "mode",
    "delete: the records go, and what they summed up to; anonymise: they stay under an alias, and all sums with them.",
    "delete",
    choices=("delete", "anonymise"),
)
SESSIONS = 1000
_PAGE = 500


async def export_user(request: web.Request) -> web.StreamResponse:
    context, user = context_of(request), path_text(request, "id")
    identity_of(request).require(user)
    values = read_query(request, (_FORMAT,))
    records = context.ledger.export(RecordFilter(user=user))
    if values["format"] != "zip":
        return await stream_records(request, records, values["format"], "user-data")
    # Made before the head is sent, so that a ledger that is away is an error answer and not a broken archive.
    summary, keys = await _summary(context, user), await _keys(context, user)
    first = await anext(records, None)
    reply = web.StreamResponse(
        headers={"content-type": "application/zip", "content-disposition": 'attachment; filename="user-data.zip"'}
    )
    await reply.prepare(request)
    members = (
        ("summary.json", _one(orjson.dumps(summary, option=orjson.OPT_INDENT_2))),
        ("keys.json", _one(orjson.dumps(keys, option=orjson.OPT_INDENT_2))),
        ("alerts.jsonl", _alerts(context, user)),
        ("records.jsonl", chunks(first, records, "jsonl")),
    )
    async for chunk in zip_chunks(members):
        await reply.write(chunk)
    await reply.write_eof()
    return reply


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def _summary(context: Context, user: str) -> dict[str, object]:
    which = RecordFilter(user=user)
    whole = await total_of(context, which)
    return {
        "user": user,
        "made_at": iso(context.now()),
        "totals": totals(whole),
        "averages": averages(whole),
        "by_model": await grouped(context, which, ("provider", "model"), 1000, whole),
        "sessions": await context.ledger.last_sessions(user, SESSIONS),
        "limits": await user_limits(context, user),
        "override": await override_of(context, user),
    }


async def _keys(context: Context, user: str) -> list[dict[str, object]]:
    """Without their digests, which are nobody's business."""
    names = ("key_id", "name", "team", "tier", "created_at", "created_by", "expires_at", "revoked_at", "settings")
    return [{name: getattr(key, name) for name in names} for key in await context.ledger.keys() if key.user == user]


async def _alerts(context: Context, user: str) -> AsyncIterator[bytes]:
    cursor = None
    while True:
        page = await context.ledger.entries(ALERTS, _PAGE, cursor)
        lines = [{"id": one.id, "at": one.at, **one.body} for one in page.entries if one.body.get("user") == user]
        yield b"".join(orjson.dumps(line) + b"\n" for line in lines)
        cursor = page.next_cursor
        if cursor is None:
            return


async def delete_user(request: web.Request) -> web.Response:
    context, user = context_of(request), path_text(request, "id")
    mode = read_query(request, (_MODE,))["mode"]
    # The audit line names the person by digest: it must outlive the data without being data itself.
    await note(request, "erase user data", f"user-sha256:{key_digest(user)[:16]}", mode=mode)
    keys_revoked = await _empty_keys(context, user)  # first, so that no call begins in this name while its data goes
    await context.ledger.delete_setting(OVERRIDE_PREFIX + user)
    await context.refresh()
    alias: str | None = None
    if mode == "anonymise":
        alias, record_count = await anonymise(context.ledger, user)
    else:
        record_count = await context.ledger.forget_user(user)
    await _empty_alerts(context, user)
    return json_reply({"user": user, "mode": mode, "alias": alias, "records": record_count, "keys_revoked": keys_revoked})


async def _empty_keys(context: Context, user: str) -> int:
    count = 0
    for key in await context.ledger.keys():
        if key.user == user:
            await context.ledger.put_key(_emptied(key, iso(context.now())))
            count += 1
    return count


def _emptied(key: StoredKey, at: str) -> StoredKey:
    """The digest stays, so that the key does not come back as somebody's own; whose it was does not."""
    return StoredKey(key.key_id, key.key_sha256, "erased", created_at=key.created_at, revoked_at=key.revoked_at or at)


async def _empty_alerts(context: Context, user: str) -> None:
    """What was said to and of this person. Their ids stay, so that nothing is raised a second time."""
    cursor = None
    while True:
        page = await context.ledger.entries(ALERTS, _PAGE, cursor)
        for entry in page.entries:
            if entry.body.get("user") == user:
                emptied: dict[str, object] = {
                    "user": None,
                    "team": None,
                    "title": "(erased)",
                    "text": "(erased)",
                    "facts": {},
                    "state": "dismissed",
                }
                await context.ledger.put_entry(replace(entry, body={**entry.body, **emptied}), replace=True)
        cursor = page.next_cursor
        if cursor is None:
            return


ROUTES = (
    Route("GET", "/users/{id}/export", export_user, "user", "A person's data, streamed", "files", (_FORMAT,)),
    Route("DELETE", "/users/{id}/data", delete_user, "admin", "A person's data away", "Erased", (_MODE,)),
)
