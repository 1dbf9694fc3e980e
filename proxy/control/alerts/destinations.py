"""Where alerts go, as the admin sets it: a list of destinations, each with what it wants to hear and when. Pure.

Kept in the ledger's settings, so that every replica has the same; secrets are never shown again.
"""

from __future__ import annotations

from datetime import datetime, time
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, RootModel, TypeAdapter

from proxy.config.alert_words import ADDRESS, ANY_URL, CLOCK_TIME, HTTP_URL, KINDS, SEVERITIES, SMTP_URL
from proxy.control.alerts.alert import Alert
from proxy.control.values import Body, Name, whole

SETTING = "alert_destinations"
HIDDEN = "(kept)"
"""Stands for a secret that is set; sent back, it leaves the secret as it is."""
_SECRETS = ("secret", "url", "smtp_url")
_ZONES = frozenset(available_timezones())
ClockTime = Annotated[str, Field(pattern=CLOCK_TIME)]
HttpUrl = Annotated[str, Field(pattern=HTTP_URL, max_length=2000)]
Address = Annotated[str, Field(pattern=ADDRESS, max_length=254)]


def _zone(name: str) -> str:
    if name not in _ZONES:
        raise ValueError("an IANA time zone is wanted, e.g. Europe/Berlin")
    return name


class QuietHours(Body):
    """Local hours in which alerts wait, critical ones aside; they may reach over midnight."""

    start: ClockTime
    end: ClockTime
    timezone: Annotated[str, AfterValidator(_zone), Field(json_schema_extra={"enum": ["UTC", "Europe/Berlin"]})] = "UTC"


class _Destination(Body):
    name: Name
    kinds: Annotated[list[Literal[KINDS]], Field(max_length=len(KINDS), default_factory=list)]  # type: ignore[valid-type]
    """Only these; all where empty."""
    min_severity: Literal[SEVERITIES] = "info"  # type: ignore[valid-type]
    users: Annotated[list[Name], Field(max_length=1000, default_factory=list)]
    """Only these users' alerts; everybody's and the house's own where empty."""
    teams: Annotated[list[Name], Field(max_length=1000, default_factory=list)]
    """Only what concerns these teams or their members. With `users` as well, either is enough."""
    quiet_hours: QuietHours | None = None
    group_seconds: Annotated[int, Field(ge=0, le=3600), BeforeValidator(whole)] = 30
    """Alerts within this time go out as one message."""


class WebhookDestination(_Destination):
    """POSTs JSON, signed with the secret."""

    channel: Literal["webhook"]
    url: HttpUrl
    secret: Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")] = ""


class SlackDestination(_Destination):
    """An incoming webhook of Slack (or whatever takes `{"text"}`: Mattermost, Discord's /slack)."""

    channel: Literal["slack"]
    url: HttpUrl


class EmailDestination(_Destination):
    """Mail through an SMTP server: smtp://, smtp+starttls:// or smtps://, with user:password@ where it asks for them."""

    channel: Literal["email"]
    smtp_url: Annotated[str, Field(pattern=SMTP_URL, max_length=2000)]
    sender: Address
    recipients: Annotated[list[Address], Field(min_length=1, max_length=100)]


class AppriseDestination(_Destination):
    """Whatever the `apprise` library can reach: Teams, Discord, Telegram, ntfy, PagerDuty …; needs the extra `apprise`."""

    channel: Literal["apprise"]
    url: Annotated[str, Field(pattern=ANY_URL, max_length=2000)]


Destination = WebhookDestination | SlackDestination | EmailDestination | AppriseDestination


class Destinations(RootModel[list[Annotated[Destination, Field(discriminator="channel")]]]):
    """All of them."""


class DestinationsBody(Body):
    """Replaces the whole list."""

    destinations: Annotated[list[Annotated[Destination, Field(discriminator="channel")]], Field(max_length=50)]


_ADAPTER: TypeAdapter[list[Destination]] = TypeAdapter(list[Annotated[Destination, Field(discriminator="channel")]])


def read_destinations(kept: object) -> list[Destination]:
    """The destinations of a settings document; none where there is none."""
    return _ADAPTER.validate_python(kept) if isinstance(kept, list) else []


def as_document(destinations: list[Destination]) -> list[dict[str, Any]]:
    return [one.model_dump(mode="json") for one in destinations]


def without_secrets(destinations: list[Destination]) -> list[dict[str, Any]]:
    """As the API shows them."""
    return [_shown(one) for one in as_document(destinations)]


def with_kept_secrets(sent: list[Destination], before: list[Destination]) -> list[Destination]:
    """What was sent; where a secret came back as it is shown, the real one of the destination of that name."""
    known = {one["name"]: one for one in as_document(before)}
    whole = []
    for one in as_document(sent):
        old = known.get(one["name"])
        if old is not None and old["channel"] == one["channel"]:
            shown = _shown(dict(old))
            one |= {field: old[field] for field in _SECRETS if field in one and one[field] == shown[field]}
        whole.append(one)
    return read_destinations(whole)


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    if one.get("secret"):
        one["secret"] = HIDDEN
    if one["channel"] == "slack":  # the address itself is the secret
        one["url"] = "/".join((*one["url"].split("/")[:3], HIDDEN))
    if one["channel"] == "apprise":
        one["url"] = one["url"].partition("://")[0] + "://" + HIDDEN
    if "smtp_url" in one:
        scheme, _, rest = one["smtp_url"].partition("://")
        one["smtp_url"] = f"{scheme}://{rest.rpartition('@')[2]}"
    return one


def wants(destination: Destination, alert: Alert) -> bool:
    """Whether a destination is to hear of an alert."""
    is_severe = SEVERITIES.index(alert.severity) >= SEVERITIES.index(destination.min_severity)
    is_kind = not destination.kinds or alert.kind in destination.kinds
    is_anybodys = not destination.users and not destination.teams
    is_theirs = alert.user in destination.users or alert.team in destination.teams
    return is_severe and is_kind and (is_anybodys or is_theirs)


def is_quiet(destination: Destination, at: datetime) -> bool:
    """Whether an instant lies in the destination's quiet hours."""
    quiet = destination.quiet_hours
    if quiet is None:
        return False
    local = at.astimezone(ZoneInfo(quiet.timezone)).time()
    start, end = time.fromisoformat(quiet.start), time.fromisoformat(quiet.end)
    return start <= local < end if start <= end else local >= start or local < end
