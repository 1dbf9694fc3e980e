"""Which records a request is about: the filters that all of `usage/…` share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from proxy.control.auth import Identity, identity_of
from proxy.control.context import context_of
from proxy.control.parameters import Choice, Choices, Parameter, read_query
from proxy.control.periods import Period, read_period
from proxy.ledger.ledger import GROUPS, RecordFilter
from proxy.records import OUTCOMES

GROUP_NAMES = ("user", "team", "key", *(name for name in GROUPS if name not in ("user", "team", "key_id")))
"""As the API says them: the ledger's `key_id` is `key` here."""
FILTERS: tuple[Parameter, ...] = (
    Parameter("user", "Calls of this user."),
    Parameter("team", "Calls of this team."),
    Parameter("key", "Calls made with the virtual key of this key_id."),
    Parameter("provider", "Calls to this provider, by its configured name."),
    Parameter("model", "Calls that asked for this model, or were answered by it."),
    Parameter("operation", "Calls labelled with this operation."),
    Parameter("session", "Calls labelled with this session."),
    Parameter("tag", "Calls that carry this tag, `name=value`."),
    Choice("outcome", "Calls that ended this way.", choices=OUTCOMES),
    Parameter("request_id", "The one call with this x-weighbridge-request-id."),
)
GROUP_BY = Choices("group_by", "Names to group by, several separated by commas.", (), choices=GROUP_NAMES, at_most=4)


def read_filter(values: Mapping[str, Any], period: Period, identity: Identity) -> RecordFilter:
    """The ledger's filter for the query's values, narrowed to what the identity may see."""
    return identity.narrow(
        RecordFilter(
            start_at=period.start_at,
            end_at=period.end_at,
            user=values.get("user"),
            team=values.get("team"),
            key_id=values.get("key"),
            provider=values.get("provider"),
            model=values.get("model"),
            operation=values.get("operation"),
            session=values.get("session"),
            tag=values.get("tag"),
            outcome=values.get("outcome"),
            request_id=values.get("request_id"),
        )
    )


def read_request(request: web.Request, known: tuple[Parameter, ...]) -> tuple[dict[str, Any], Period, RecordFilter]:
    """Values, period and filter of a request in one go."""
    context = context_of(request)
    values = read_query(request, known)
    period = read_period(values, context.rules.timezone, context.now())
    return values, period, read_filter(values, period, identity_of(request))


def ledger_groups(names: tuple[str, ...]) -> tuple[str, ...]:
    """The ledger's words for group names."""
    return tuple("key_id" if name == "key" else name for name in names)


def group_as_json(group: Mapping[str, str | None]) -> dict[str, str | None]:
    """One group under the API's names."""
    return {"key" if name == "key_id" else name: value for name, value in group.items()}
