"""GET alerts, POST alerts/{id}/acknowledge and alerts/{id}/dismiss."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from proxy.control.alerts.alert import JOURNAL, KINDS, SEVERITIES, STATES
from proxy.control.audit import note
from proxy.control.auth import identity_of
from proxy.control.context import Context, context_of
from proxy.control.parameters import Choice, Integer, Parameter, path_text, read_query
from proxy.control.periods import FROM, TIMEZONE, TO, RangeParameter, iso, read_period
from proxy.control.replies import bad_parameter, json_reply, not_found
from proxy.control.routes import Call, Route
from proxy.ledger.ledger import Entry, RecordFilter

_PAGE = 500
_RANGE = RangeParameter("range", "The stretch of time.", "month")
_KNOWN = (
    Choice("state", "Only alerts in this state.", choices=STATES),
    Choice("kind", "Only alerts of this kind.", choices=KINDS),
    Choice("severity", "Only alerts this bad.", choices=SEVERITIES),
    Parameter("user", "Only this user's alerts."),
    _RANGE,
    FROM,
    TO,
    TIMEZONE,
    Integer("limit", "Alerts per page.", 100, minimum=1, maximum=1000),
    Parameter("cursor", "`next_cursor` of the page before."),
)


async def list_alerts(request: web.Request) -> web.Response:
    context, identity = context_of(request), identity_of(request)
    values = read_query(request, _KNOWN)
    period = read_period(values, context.rules.timezone, context.now())
    wanted = {name: values[name] for name in ("state", "kind", "severity") if values[name] is not None}
    user = identity.narrow(RecordFilter(user=values["user"])).user
    if user is not None:
        wanted["user"] = user
    found: list[dict[str, object]] = []
    cursor = values["cursor"]
    while len(found) < values["limit"]:
        try:
            page = await context.ledger.entries(
                JOURNAL, min(_PAGE, values["limit"] - len(found)), cursor, start_at=period.start_at, end_at=period.end_at
            )
        except ValueError:
            raise bad_parameter("cursor", "the `next_cursor` of an earlier page") from None
        found += [_as_json(entry) for entry in page.entries if all(entry.body.get(name) == wanted[name] for name in wanted)]
        cursor = page.next_cursor
        if cursor is None:
            break
    return json_reply({"alerts": found, "next_cursor": cursor})


def _setter(state: str) -> Call:
    async def set_state(request: web.Request) -> web.Response:
        context, identity = context_of(request), identity_of(request)
        entry = await _find(context, path_text(request, "id"))
        if not identity.is_admin and entry.body.get("user") != identity.user:
            raise not_found("alert")
        await note(request, f"{state} alert", f"alert:{entry.id}", before=entry.body.get("state"))
        changed = replace(entry, body={**entry.body, "state": state, "changed_by": identity.name, "changed_at": iso(context.now())})
        await context.ledger.put_entry(changed, replace=True)
        return json_reply(_as_json(changed))

    return set_state


async def _find(context: Context, alert_id: str) -> Entry:
    entry = await context.ledger.entry(JOURNAL, alert_id)
    if entry is None:
        raise not_found("alert")
    return entry


def _as_json(entry: Entry) -> dict[str, object]:
    return {"id": entry.id, "at": entry.at, **entry.body}


ROUTES = (
    Route("GET", "/alerts", list_alerts, "user", "Alerts, newest first", "AlertPage", _KNOWN),
    Route("POST", "/alerts/{id}/acknowledge", _setter("acknowledged"), "user", "Seen, and being worked on", "Alert", also=(404,)),
    Route("POST", "/alerts/{id}/dismiss", _setter("dismissed"), "user", "Seen, and nothing to be done", "Alert", also=(404,)),
)
