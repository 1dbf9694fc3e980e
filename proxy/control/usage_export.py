"""GET usage/export: records of any number, streamed as CSV or JSON lines, in constant memory."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator

import orjson
from aiohttp import web

from proxy.control.context import context_of
from proxy.control.filters import FILTERS, read_request
from proxy.control.parameters import Choice
from proxy.control.periods import FROM, TIMEZONE, TO, RangeParameter
from proxy.control.routes import Route
from proxy.records import FIELDS, UsageRecord, as_dict

CHUNK_BYTES = 64 * 1024
_RANGE = RangeParameter("range", "The stretch of time, back from now or a calendar period; everything where not given.")
_FORMAT = Choice("format", "csv has a head line; jsonl is exact (one record of the API per line).", "csv", choices=("csv", "jsonl"))
_KNOWN = (_FORMAT, _RANGE, FROM, TO, TIMEZONE, *FILTERS)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


async def export(request: web.Request) -> web.StreamResponse:
    values, _, which = read_request(request, _KNOWN)
    records = context_of(request).ledger.export(which)
    return await stream_records(request, records, values["format"], "usage")


async def stream_records(request: web.Request, records: AsyncIterator[UsageRecord], form: str, name: str) -> web.StreamResponse:
    """Send the records as they come from the ledger. The first is fetched before the head is sent, so that a ledger
    that is away is an error answer and not a broken download."""
    first = await anext(records, None)
    reply = web.StreamResponse(
        headers={
            "content-type": "text/csv; charset=utf-8" if form == "csv" else "application/x-ndjson",
            "content-disposition": f'attachment; filename="{name}.{form}"',
        }
    )
    reply.enable_compression()
    await reply.prepare(request)
    async for chunk in chunks(first, records, form):
        await reply.write(chunk)
    await reply.write_eof()
    return reply


async def chunks(first: UsageRecord | None, others: AsyncIterator[UsageRecord], form: str) -> AsyncIterator[bytes]:
    """The records as a file, in pieces of CHUNK_BYTES or so."""
    write = _csv_line if form == "csv" else _json_line
    buffer = bytearray(_csv_head() if form == "csv" else b"")
    if first is not None:
        buffer += write(first)
        async for record in others:
            buffer += write(record)
            if len(buffer) >= CHUNK_BYTES:
                yield bytes(buffer)
                buffer.clear()
    yield bytes(buffer)


def _json_line(record: UsageRecord) -> bytes:
    return orjson.dumps(as_dict(record)) + b"\n"


def _csv_head() -> bytes:
    return (",".join(FIELDS) + "\r\n").encode()


def _csv_line(record: UsageRecord) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow([_cell(value) for value in record])
    return line.getvalue().encode()


def _cell(value: object) -> object:
    if isinstance(value, (dict, list)):
        return orjson.dumps(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and value.startswith(_FORMULA):
        return "'" + value  # spreadsheets run cells that begin so; names of users and models are not ours
    return value


ROUTES = (Route("GET", "/usage/export", export, "user", "Records of any number, streamed", "csv+jsonl", _KNOWN),)
