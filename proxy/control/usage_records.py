"""GET usage/records and usage/records/{id}: the ledger itself, newest first."""

from __future__ import annotations

from aiohttp import web

from proxy.control.auth import identity_of
from proxy.control.context import context_of
from proxy.control.filters import FILTERS, read_request
from proxy.control.parameters import Integer, Parameter, path_text
from proxy.control.periods import FROM, TIMEZONE, TO, RangeParameter
from proxy.control.replies import bad_parameter, json_reply, not_found
from proxy.control.routes import Route
from proxy.records import as_dict

_RANGE = RangeParameter("range", "The stretch of time, back from now or a calendar period; everything where not given.")
_LIMIT = Integer("limit", "Records per page.", 100, minimum=1, maximum=1000)
_CURSOR = Parameter("cursor", "`next_cursor` of the page before.")
_KNOWN = (_RANGE, FROM, TO, TIMEZONE, *FILTERS, _LIMIT, _CURSOR)


async def list_records(request: web.Request) -> web.Response:
    values, _, which = read_request(request, _KNOWN)
    try:
        page = await context_of(request).ledger.records(which, values["limit"], values["cursor"])
    except ValueError:
        raise bad_parameter("cursor", "the `next_cursor` of an earlier page") from None
    return json_reply({"records": [as_dict(record) for record in page.records], "next_cursor": page.next_cursor})


async def get_record(request: web.Request) -> web.Response:
    identity = identity_of(request)
    record = await context_of(request).ledger.record(path_text(request, "id"))
    if record is None or not (identity.sees_all or record.user == identity.user):
        raise not_found("record")
    return json_reply(as_dict(record))


ROUTES = (
    Route("GET", "/usage/records", list_records, "user", "The ledger, newest first", "RecordPage", _KNOWN),
    Route("GET", "/usage/records/{id}", get_record, "user", "One record", "Record", also=(404,)),
)
