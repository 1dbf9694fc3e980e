"""What the files may say: one closed schema each for providers.yaml, limits.yaml, prices.yaml, alerts.yaml and server.yaml.

Rules of this file: a name that is not here is a mistake, never ignored (a budget with a typo is no budget); a setting may
be left out but not left empty; sections may be empty. The names are the public contract. What single values may be is
in `fields.py`; what must fit together across settings is in `agreement.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields as dataclass_fields
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag, create_model

from proxy.config import alert_words as words
from proxy.config import fields as f
from proxy.config.fields import Mode, StorePolicy, absent
from proxy.config.presets import API_NAMES, CREDENTIALS, PRESETS
from proxy.pricing.fields import OVERRIDE_FIELDS
from proxy.routing.route import RESERVED_NAMES
from proxy.rules import Settings

Text = Annotated[str, StringConstraints(min_length=1)]


class Closed(BaseModel):
    """A mapping whose names are all known."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _shape(value: Any) -> str:
    return "mapping" if isinstance(value, dict | BaseModel) else "list" if isinstance(value, list) else "amount"


# ── limits.yaml ──────────────────────────────────────────────────────────────────────────────────────────────────────
class CountRule(Closed):
    """One limit with its own mode: `{max: 20, mode: strict}`."""

    max: f.Count
    mode: Mode = absent()
    on_store_failure: StorePolicy = absent()


class UsdRule(Closed):
    max: f.Usd
    mode: Mode = absent()
    on_store_failure: StorePolicy = absent()


CountLimit = Annotated[
    Annotated[CountRule, Tag("mapping")] | Annotated[f.Count, Tag("amount")] | Annotated[f.Count, Tag("list")],
    Discriminator(_shape),
]
UsdLimit = Annotated[
    Annotated[UsdRule, Tag("mapping")] | Annotated[f.Usd, Tag("amount")] | Annotated[f.Usd, Tag("list")], Discriminator(_shape)
]


class CountWindows(Closed):
    """Limits of one resource by calendar window; mode and on_store_failure hold for all of them."""

    per_minute: CountLimit = absent()
    per_hour: CountLimit = absent()
    per_day: CountLimit = absent()
    per_month: CountLimit = absent()
    total: CountLimit = absent()
    mode: Mode = absent()
    on_store_failure: StorePolicy = absent()


class UsdWindows(Closed):
    """Budgets in US dollars by calendar window."""

    per_minute: UsdLimit = absent()
    per_hour: UsdLimit = absent()
    per_day: UsdLimit = absent()
    per_month: UsdLimit = absent()
    total: UsdLimit = absent()
    mode: Mode = absent()
    on_store_failure: StorePolicy = absent()


class LimitSet(Closed):
    """What can be limited."""

    tokens: CountWindows = absent()
    input_tokens: CountWindows = absent()
    output_tokens: CountWindows = absent()
    cost_usd: UsdWindows = absent()
    requests: CountWindows = absent()
    concurrent_requests: CountLimit = absent()


def _no_star(per_model: dict[str, LimitSet]) -> dict[str, LimitSet]:
    if "*" in per_model:
        raise f.wrong("`*` is every model; write these limits beside `per_model`, not in it")
    return per_model


class Holder(LimitSet):
    """Whoever limits can stand under."""

    per_model: Annotated[dict[f.Pattern, Annotated[LimitSet, f.EmptyIfNull]], f.EmptyIfNull, AfterValidator(_no_star)] = absent()


class Tier(Holder):
    """Limits that each of its users has."""

    priority: Literal["low", "normal", "high"] = absent()
    models: list[f.Pattern] = absent()


class Team(Holder):
    """Limits that its users have together."""

    models: list[f.Pattern] = absent()


class User(Holder):
    tier: f.Name = absent()
    team: f.Name = absent()
    models: list[f.Pattern] = absent()


class Key(Holder):
    """A virtual key: whom it names, what it may do."""

    key_sha256: f.Digest
    user: f.Name = absent()
    name: f.Name = absent()
    team: f.Name = absent()
    tier: f.Name = absent()
    expires: f.Expires = absent()
    may_speak_for_others: f.Flag = absent()
    models: list[f.Pattern] = absent()
    labels: list[Literal["session", "operation", "operation_id", "tags"]] = absent()


class LimitsFile(Closed):
    """limits.yaml"""

    mode: Mode = absent()
    on_store_failure: StorePolicy = absent()
    timezone: f.Timezone = absent()
    alert_at: list[f.Share] = absent()
    auth: Literal["auto", "keys", "none"] = absent()
    identify_by: list[f.Identity] = absent()
    output_cap: Literal["off", "inject"] = absent()
    everyone: Annotated[Holder, f.EmptyIfNull] = absent(alias="global")
    defaults: Annotated[Holder, f.EmptyIfNull] = absent()
    tiers: Annotated[dict[f.Name, Annotated[Tier, f.EmptyIfNull]], f.EmptyIfNull] = absent()
    teams: Annotated[dict[f.Name, Annotated[Team, f.EmptyIfNull]], f.EmptyIfNull] = absent()
    users: Annotated[dict[f.Name, Annotated[User, f.EmptyIfNull]], f.EmptyIfNull] = absent()
    keys: Annotated[list[Key], f.EmptyListIfNull] = absent()


# ── providers.yaml ───────────────────────────────────────────────────────────────────────────────────────────────────
def _provider_name(name: str) -> str:
    if name in RESERVED_NAMES:
        raise f.wrong(f"`{name}` is a path of this program; give the provider another name")
    return name


ProviderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._\-]{0,63}$"), AfterValidator(_provider_name)]
HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+\-.^_`|~]+$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\t\x20-\x7e\x80-\xff]*$")]


def _one_of(names: Iterable[str]) -> Any:
    """A Literal of names that another module decides."""
    return Literal[tuple(names)]


if TYPE_CHECKING:
    ApiName: TypeAlias = str
    PresetName: TypeAlias = str
    CredentialName: TypeAlias = str
else:
    ApiName, PresetName, CredentialName = _one_of(API_NAMES), _one_of(PRESETS), _one_of(CREDENTIALS)


class ProviderEntry(Closed):
    """One provider; what is left out comes from its preset."""

    preset: PresetName = absent()
    base_url: Text = absent()
    api: ApiName = absent()
    api_key: Text = absent()
    credential: CredentialName = absent()
    auth: Literal["auto", "keys", "none"] = absent()
    price_provider: Text = absent()
    inject_usage: Literal["auto", "always", "never"] = absent()
    headers: Annotated[dict[HeaderName, HeaderValue], f.EmptyIfNull] = absent()
    connect_timeout_seconds: f.PositiveSeconds = absent()
    first_byte_timeout_seconds: f.PositiveSeconds = absent()
    between_bytes_timeout_seconds: f.PositiveSeconds = absent()
    max_connections: Annotated[int, Field(ge=1, le=100_000)] = absent()
    idle_seconds: f.Seconds = absent()
    lifetime_seconds: f.PositiveSeconds = absent()
    verify_tls: f.Flag = absent()
    ca_file: Text = absent()
    proxy: Text = absent()
    model_names: Annotated[dict[f.Pattern, Text], f.EmptyIfNull] = absent()
    optional: f.Flag = absent()


class ProvidersFile(Closed):
    """providers.yaml"""

    providers: Annotated[dict[ProviderName, Annotated[ProviderEntry, f.EmptyIfNull]], Field(min_length=1)]
    default_provider: Text = absent()


# ── prices.yaml ──────────────────────────────────────────────────────────────────────────────────────────────────────
class RateStep(Closed):
    """From more than `start` input tokens on, `price` counts for the whole call."""

    start: f.Whole
    price: f.Rate


class SteppedRate(Closed):
    base: f.Rate
    tiers: list[RateStep]


RateField = Annotated[
    Annotated[SteppedRate, Tag("mapping")] | Annotated[f.Rate, Tag("amount")] | Annotated[f.Rate, Tag("list")],
    Discriminator(_shape),
]


def _price_model() -> type[Closed]:
    """The fields of a price are pricing's to decide (`proxy/pricing/fields.py`)."""
    rates: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, wanted in OVERRIDE_FIELDS.items():
        if wanted.kind == "rate":
            rates[name] = (RateField, absent(description=wanted.description))
        elif wanted.kind == "tokens":
            others[name] = (f.Whole, absent(description=wanted.description))
        elif wanted.kind == "date":
            others[name] = (f.Day, absent(description=wanted.description))
    tier_rates = create_model("TierRates", __base__=Closed, **rates)
    for name, wanted in OVERRIDE_FIELDS.items():
        if wanted.kind == "tiers":
            others[name] = (dict[Text, tier_rates], absent(description=wanted.description))  # type: ignore[valid-type]
    return create_model("ModelPrice", __base__=Closed, **rates, **others)


ModelPrice = _price_model()
ModelPrices = Annotated[
    Annotated[ModelPrice, Tag("mapping")] | Annotated[list[ModelPrice], Tag("list")] | Annotated[ModelPrice, Tag("amount")],  # type: ignore[valid-type]
    Discriminator(_shape),
]


class PricesFile(Closed):
    """prices.yaml"""

    unknown_model: Literal["allow", "refuse"] = absent()
    prices: Annotated[dict[Text, Annotated[dict[f.Pattern, ModelPrices], f.EmptyIfNull]], f.EmptyIfNull] = absent()


# ── alerts.yaml ──────────────────────────────────────────────────────────────────────────────────────────────────────
if TYPE_CHECKING:
    AlertKind: TypeAlias = str
    Severity: TypeAlias = str
    SpikeGroup: TypeAlias = str
else:
    AlertKind, Severity, SpikeGroup = _one_of(words.KINDS), _one_of(words.SEVERITIES), _one_of(words.SPIKE_GROUPS)


class QuietHoursEntry(Closed):
    """Local hours in which alerts wait, critical ones aside; they may reach over midnight."""

    start: Annotated[str, StringConstraints(pattern=words.CLOCK_TIME)]
    end: Annotated[str, StringConstraints(pattern=words.CLOCK_TIME)]
    timezone: f.Timezone = absent()


class DestinationEntry(Closed):
    """Where alerts go, which of them, and when. What each channel needs besides is in `alert_words.CHANNEL_FIELDS`."""

    name: f.Name
    channel: Literal["webhook", "slack", "email", "apprise"]
    url: Text = absent()
    secret: Text = absent()
    smtp_url: Text = absent()
    sender: Text = absent()
    recipients: Annotated[list[Annotated[str, StringConstraints(pattern=words.ADDRESS)]], Field(min_length=1)] = absent()
    kinds: list[AlertKind] = absent()
    min_severity: Severity = absent()
    users: list[f.Name] = absent()
    teams: list[f.Name] = absent()
    quiet_hours: QuietHoursEntry = absent()
    group_seconds: f.Seconds = absent()


class SpikesEntry(Closed):
    """How many times the week's average makes a day stand out, and whose days are looked at."""

    tokens: Annotated[f.Rate, Field(ge=1)] = absent()
    cost_usd: Annotated[f.Rate, Field(ge=1)] = absent()
    requests: Annotated[f.Rate, Field(ge=1)] = absent()
    by: list[SpikeGroup] = absent()


class AlertsFile(Closed):
    """alerts.yaml"""

    destinations: Annotated[list[DestinationEntry], f.EmptyListIfNull] = absent()
    anomalies: Annotated[SpikesEntry, f.EmptyIfNull] = absent()


# ── server.yaml ──────────────────────────────────────────────────────────────────────────────────────────────────────
_CHOICES: dict[str, tuple[str, ...]] = {
    "fsync": ("off", "interval", "always"),
    "on_spool_full": ("serve", "refuse"),
    "log_level": ("debug", "info", "warning", "error"),
}


def _server_model() -> type[Closed]:
    """server.yaml is `rules.Settings`, field by field: its unit is in the field's name."""
    settings: dict[str, Any] = {}
    for setting in dataclass_fields(Settings):
        name, kind = setting.name, str(setting.type)
        if name in _CHOICES:
            settings[name] = (_one_of(_CHOICES[name]), absent())
        elif name.endswith("_bytes"):
            settings[name] = (f.Bytes, absent())
        elif name.endswith(("_timeout_seconds", "_interval_seconds", "lease_seconds")):
            settings[name] = (f.PositiveSeconds, absent())
        elif name.endswith("_seconds"):
            settings[name] = (f.Seconds, absent())
        elif kind == "bool":
            settings[name] = (f.Flag, absent())
        elif kind == "int":
            settings[name] = (Annotated[int, Field(ge=0)], absent())
        else:
            settings[name] = (Text, absent())
    return create_model("ServerFile", __base__=Closed, __doc__="server.yaml", **settings)


ServerFile = _server_model()

FILES: dict[str, type[Closed]] = {
    "providers.yaml": ProvidersFile,
    "limits.yaml": LimitsFile,
    "prices.yaml": PricesFile,
    "alerts.yaml": AlertsFile,
    "server.yaml": ServerFile,
}
"""Every file of a configuration directory."""


def json_schema(file: str) -> dict[str, object]:
    """The JSON Schema (2020-12) of one file, for editors."""
    schema = FILES[file].model_json_schema(by_alias=True, mode="validation")
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = file
    _without_null_defaults(schema)
    return schema


def schema_text(file: str) -> str:
    """The same as text, as `config/schema/` has it."""
    return json.dumps(json_schema(file), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _without_null_defaults(node: object) -> None:
    """`null` is not what a left-out setting is, and no setting takes it."""
    if isinstance(node, dict):
        if node.get("default", 0) is None:
            del node["default"]
        for child in node.values():
            _without_null_defaults(child)
    elif isinstance(node, list):
        for child in node:
            _without_null_defaults(child)
