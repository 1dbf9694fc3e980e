"""GET and PUT alerts/destinations, POST alerts/test, GET alerts/deliveries: how alerts leave the house."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from aiohttp import web

from proxy.control.alerts.alert import Alert
from proxy.control.alerts.channels import DeliveryFailed, send
from proxy.control.alerts.delivery import JOURNAL, OVERDUE_SECONDS
from proxy.control.alerts.destinations import (
    SETTING,
    DestinationsBody,
    as_document,
    read_destinations,
    with_kept_secrets,
    without_secrets,
)
from proxy.control.audit import note
from proxy.control.context import Context, context_of
from proxy.control.identifiers import make_uuid7
from proxy.control.parameters import Choice, Integer, Parameter, path_text, read_query
from proxy.control.periods import iso
from proxy.control.replies import ApiError, bad_parameter, json_reply, not_found
from proxy.control.routes import Body, Route, read_body
from proxy.control.values import Name
from proxy.ledger.ledger import Entry

_KNOWN = (
    Choice("state", "Only deliveries in this state.", choices=("pending", "sent", "dead")),
    Integer("limit", "Deliveries per page.", 100, minimum=1, maximum=1000),
    Parameter("cursor", "`next_cursor` of the page before."),
)


class TrialBody(Body):
    """Where a test alert is to go."""

    destination: Name


async def show_destinations(request: web.Request) -> web.Response:
    read_query(request, ())
    context = context_of(request)
    kept = read_destinations(await context.ledger.setting(SETTING))
    return json_reply({"destinations": without_secrets(kept), "configured": _configured(context)})


async def replace_destinations(request: web.Request) -> web.Response:
    context = context_of(request)
    body = await read_body(request, DestinationsBody)
    names = [one.name for one in body.destinations]
    if len(set(names)) < len(names):
        raise ApiError(422, "name_twice", "each destination needs a name of its own")
    taken = sorted({one.name for one in context.alert_rules.destinations}.intersection(names))
    if taken:
        raise ApiError(409, "name_taken", f"`{taken[0]}` stands in alerts.yaml; change it there, or take another name")
    before = read_destinations(await context.ledger.setting(SETTING))
    after = with_kept_secrets(body.destinations, before)
    await note(request, "set alert destinations", "alerts", before=without_secrets(before), after=without_secrets(after))
    await context.ledger.put_setting(SETTING, as_document(after))
    return json_reply({"destinations": without_secrets(after), "configured": _configured(context)})


def _configured(context: Context) -> list[dict[str, object]]:
    """Those of alerts.yaml: shown here, changed there."""
    return without_secrets(list(context.alert_rules.destinations))


async def send_test(request: web.Request) -> web.Response:
    """One try, now; the answer says whether it arrived."""
    context = context_of(request)
    body = await read_body(request, TrialBody)
    made = read_destinations(await context.ledger.setting(SETTING))
    known = {one.name: one for one in (*made, *context.alert_rules.destinations)}
    if body.destination not in known:
        raise not_found("destination")
    delivery_id = make_uuid7(context.clock())
    text = "If you read this, alerts arrive here."
    alert = Alert(f"test:{delivery_id}", "daily", "info", iso(context.now()), "A test alert", text)
    await note(request, "send test alert", f"destination:{body.destination}")
    try:
        await send(context.http(), known[body.destination], delivery_id, [alert], context.clock())
    except DeliveryFailed as failure:
        return json_reply({"delivered": False, "delivery": delivery_id, "error": str(failure)})
    return json_reply({"delivered": True, "delivery": delivery_id, "error": None})


async def list_deliveries(request: web.Request) -> web.Response:
    context = context_of(request)
    values = read_query(request, _KNOWN)
    try:
        page = await context.ledger.entries(JOURNAL, values["limit"], values["cursor"])
    except ValueError:
        raise bad_parameter("cursor", "the `next_cursor` of an earlier page") from None
    found = [_delivery(entry) for entry in page.entries]
    shown = [one for one in found if values["state"] in (None, one["state"])]
    return json_reply({"deliveries": shown, "next_cursor": page.next_cursor})


async def retry_delivery(request: web.Request) -> web.Response:
    """A dead letter goes on its way again; a replica takes it up within a minute, as it does with those whose process died."""
    context, delivery_id = context_of(request), path_text(request, "id")
    entry = await context.ledger.entry(JOURNAL, delivery_id)
    if entry is None:
        raise not_found("delivery")
    if entry.body.get("state") != "dead":
        raise ApiError(
            409, "not_dead", f"this delivery is {entry.body.get('state')}; only one that was given up can be tried again"
        )
    known = {one.name for one in (*read_destinations(await context.ledger.setting(SETTING)), *context.alert_rules.destinations)}
    if entry.body.get("destination") not in known:
        raise ApiError(409, "no_destination", f"there is no destination `{entry.body.get('destination')}` any more")
    await note(request, "retry delivery", f"delivery:{entry.id}")
    changed = replace(entry, body={**entry.body, "state": "pending", "due_at": context.clock() - OVERDUE_SECONDS})
    await context.ledger.put_entry(changed, replace=True)
    return json_reply(_delivery(changed))


def _delivery(entry: Entry) -> dict[str, object]:
    due_at = entry.body.get("due_at")
    next_try = iso(datetime.fromtimestamp(due_at, UTC)) if isinstance(due_at, (int, float)) else None
    return {"id": entry.id, "at": entry.at, **entry.body, "due_at": next_try}


ROUTES = (
    Route("GET", "/alerts/destinations", show_destinations, "admin", "Where alerts go, without secrets", "Destinations"),
    Route(
        "PUT",
        "/alerts/destinations",
        replace_destinations,
        "admin",
        "Say where alerts go; replaces the whole list",
        "Destinations",
        body=DestinationsBody,
        also=(409, 422),
    ),
    Route("POST", "/alerts/test", send_test, "admin", "Send a test alert now", "TrialSent", body=TrialBody, also=(404,)),
    Route(
        "GET", "/alerts/deliveries", list_deliveries, "admin", "Alerts on their way, sent, and dead letters", "DeliveryPage", _KNOWN
    ),
    Route("POST", "/alerts/deliveries/{id}/retry", retry_delivery, "admin", "Try a dead letter again", "Delivery", also=(404, 409)),
)
