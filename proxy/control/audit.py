"""The audit log: who changed what, when. Written before the change is made, so that no change goes without a line."""

from __future__ import annotations

from aiohttp import web

from proxy.control.auth import identity_of
from proxy.control.context import context_of
from proxy.control.identifiers import make_uuid7
from proxy.control.origin import address_of
from proxy.control.parameters import Integer, Parameter, read_query
from proxy.control.periods import FROM, TIMEZONE, TO, RangeParameter, iso, read_period
from proxy.control.replies import bad_parameter, json_reply
from proxy.control.routes import Route
from proxy.ledger.ledger import Entry

KIND = "audit"
_RANGE = RangeParameter("range", "The stretch of time; everything where not given.")
_LIMIT = Integer("limit", "Lines per page.", 100, minimum=1, maximum=1000)
_CURSOR = Parameter("cursor", "`next_cursor` of the page before.")
_KNOWN = (_RANGE, FROM, TO, TIMEZONE, _LIMIT, _CURSOR)


async def note(request: web.Request, action: str, subject: str, **details: object) -> None:
    """Write down that the request's identity is about to do this.

    Args:
        action: a verb and a noun, e.g. `create key`.
        subject: what is changed, e.g. `user:alice`. Never a key in clear.
        details: what it was and will be, as JSON values.
    """
    context = context_of(request)
    body = {"by": identity_of(request).name, "action": action, "subject": subject, "address": address_of(request), **details}
    await context.ledger.put_entry(Entry(KIND, make_uuid7(context.clock()), iso(context.now()), body))


async def list_changes(request: web.Request) -> web.Response:
    context = context_of(request)
    values = read_query(request, _KNOWN)
    period = read_period(values, context.rules.timezone, context.now())
    try:
        page = await context.ledger.entries(KIND, values["limit"], values["cursor"], start_at=period.start_at, end_at=period.end_at)
    except ValueError:
        raise bad_parameter("cursor", "the `next_cursor` of an earlier page") from None
    lines = [{"id": entry.id, "at": entry.at, **entry.body} for entry in page.entries]
    return json_reply({"audit": lines, "next_cursor": page.next_cursor})


ROUTES = (Route("GET", "/audit", list_changes, "admin", "Who changed what, when", "AuditPage", _KNOWN),)
