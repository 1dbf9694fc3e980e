"""Rules: all that the configuration decides, immutable; one request sees one Rules from beginning to end.

Built by `config/build.py`, swapped whole on reload. Look-ups that depend on who calls are memoised here, so that the
request's way pays for them once per caller and model and not per request. Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo

from proxy.limits.limit import Limit
from proxy.limits.plan import Plan
from proxy.routing.callers import Caller, key_digest, own_key_user
from proxy.routing.provider import Provider
from proxy.routing.pseudonyms import as_named

if TYPE_CHECKING:  # the price data is 100 MB in memory: whoever only reads Settings shall not load it
    from proxy.pricing.pricebook import Pricebook

MEMO_SIZE = 50_000
"""Entries a memo may hold before it is emptied: bounds memory where callers or models are made up (10 to 20 MB)."""
MEMO_TEXT = 256
"""Longer model or user names are looked up anew each time: no real one is, and a memo of megabyte names is a leak."""


@dataclass(frozen=True, slots=True)
class Settings:
    """`config/server.yaml`: sizes in bytes, times in seconds. The defaults are the product's."""

    max_head_bytes: int = 64 * 1024
    max_headers: int = 200
    max_json_body_bytes: int = 64 * 1024 * 1024
    """JSON request bodies are held whole (their facts decide); larger ones get 413. Uploads stream and have no bound."""
    max_held_answer_bytes: int = 16 * 1024 * 1024
    """Answers that are not streamed are held so that tokens and cost can stand in the head; larger ones pass without."""
    head_timeout_seconds: float = 30.0
    """From the first byte of a request to the end of its head (slow loris)."""
    body_timeout_seconds: float = 60.0
    """Longest silence while a request body arrives."""
    idle_timeout_seconds: float = 75.0
    """How long a kept-alive client connection may stay silent."""
    write_timeout_seconds: float = 120.0
    """How long a client may leave its answer unread."""
    stop_seconds: float = 30.0
    """After SIGTERM: how long running answers may take to finish."""
    drain_seconds: float = 30.0
    """After a client hung up: how long its answer is still read for the usage at its end."""
    drain_bytes: int = 4 * 1024 * 1024
    max_drains: int = 100
    """How many such answers at once, per worker; above that they are cut and estimated."""
    lease_seconds: float = 60.0
    """How long a hold lives without renewal."""
    fsync: str = "interval"
    """off, interval or always: when spooled records are forced to the disk."""
    fsync_interval_seconds: float = 1.0
    spool_segment_bytes: int = 8 * 1024 * 1024
    spool_max_bytes: int = 4 * 1024 * 1024 * 1024
    on_spool_full: str = "serve"
    """serve (answer calls, count what is lost, alarm) or refuse (503)."""
    tls_certificate: str | None = None
    tls_key: str | None = None
    log_level: str = "info"
    metrics_user_label: bool = False
    anonymise_users: bool = False
    """Users go by a keyed hash of their name (routing/pseudonyms.py) in counters, records, alerts and the API."""
    keep_records_days: int = 0
    """How long the ledger keeps single records and sessions; 0: for ever. Sums (and so every chart) stay."""
    keep_sessions_days: int = 0
    """Sessions alone, where they are to go before the records; 0: as long as these."""
    keep_audit_days: int = 0
    """Lines of the audit log; 0: for ever."""
    keep_alerts_days: int = 400
    """Alerts; 0: for ever."""
    keep_deliveries_days: int = 30
    """What became of the messages about alerts; 0: for ever."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the configuration says of a user beside limits."""

    team: str | None = None
    tier: str | None = None
    priority: str = "normal"


NO_STANDING = Standing()


@dataclass(frozen=True)
class Rules:
    """Everything a request needs to know of the configuration."""

    version: str
    """Hash of what it was built from; changes with every accepted edit."""
    settings: Settings
    providers: Mapping[str, Provider]
    pricebook: Pricebook
    callers: Mapping[str, Caller]
    """Virtual keys by SHA-256 in hex."""
    auth: str
    identify_by: tuple[str, ...]
    """`header:<name>`, `body:user`, `body:safety_identifier`, `body:metadata.user_id`, in order of preference."""
    timezone: ZoneInfo
    output_cap: str
    """off or inject."""
    unknown_model: str
    """allow or refuse."""
    alert_at: tuple[float, ...]
    resolve_limits: Callable[[Caller, str | None], tuple[Limit, ...]]
    """Every limit that applies to a caller and a model. Pure; slow; memoised by `limits_for`."""
    resolve_all_limits: Callable[[Caller], tuple[Limit, ...]]
    """The same for every model pattern at once: what status pages show."""
    resolve_models: Callable[[Caller], tuple[str, ...] | None]
    """Allowed model patterns of a caller; None: all."""
    stops: tuple[Mapping[str, str], ...] = ()
    """Emergency stops in force: each maps `scope` (all, provider, model, team, user, key) and `value`, `reason`, `cut_streams`."""
    standing_of: Callable[[str], Standing] = lambda user: NO_STANDING
    """What `users:` says of a user, listed or not: team, tier, priority. Pure; slow; memoised where it is used."""
    resolve_model_lists: Callable[[Caller], tuple[tuple[str, ...], ...]] | None = None
    """Every allow-list that applies to a caller (key, user, tier, team): a model must be in each. None: `resolve_models`."""
    default_provider: str | None = None
    """The provider of `/v1/…` where it is not to be `openai` (or `anthropic` for its own paths)."""
    user_name: Callable[[str], str] = as_named
    """What a user goes by here: the name, or its pseudonym (`anonymise_users`). Changes a pseudonym no more."""
    disabled: Mapping[str, str] = field(default_factory=dict)
    """Providers that are configured and left out, and why: `AZURE_OPENAI_ENDPOINT is not set`."""
    stale_at: float | None = None
    """Unix seconds at which these rules must be built again: an override set through the API ends. None: never of itself."""
    _limits: dict[tuple[Caller, str | None], tuple[Limit, ...]] = field(default_factory=dict, repr=False, compare=False)
    _allowed: dict[tuple[Caller, str | None], bool] = field(default_factory=dict, repr=False, compare=False)
    _plans: dict[tuple[Caller, str, str | None], Plan] = field(default_factory=dict, repr=False, compare=False)
    _own_callers: dict[str, Caller] = field(default_factory=dict, repr=False, compare=False)
    _spoken_for: dict[tuple[Caller, str], Caller] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def _callers_by_user(self) -> dict[str, tuple[Caller, ...]]:
        found: dict[str, list[Caller]] = {}
        for caller in self.callers.values():
            found.setdefault(caller.user, []).append(caller)
        return {user: tuple(callers) for user, callers in found.items()}

    def callers_of(self, user: str) -> tuple[Caller, ...]:
        """The user's virtual keys."""
        return self._callers_by_user.get(user, ())

    def caller_of(self, key: str) -> Caller | None:
        """The caller a virtual key stands for; None where the key is not listed."""
        return self.callers.get(key_digest(key))

    def caller_for_own_key(self, key: str) -> Caller:
        """The caller behind a key of its own: named by its fingerprint, with the standing that `users:` gives that name."""
        user = own_key_user(key)
        found = self._own_callers.get(user)
        if found is None:
            standing = self.standing_of(user)
            caller = Caller(user, standing.team, standing.tier, kind="own", priority=standing.priority)
            found = _remember(self._own_callers, user, caller)
        return found

    def anonymous_caller(self, user: str = "anonymous") -> Caller:
        """The caller where nothing is asked for (`auth: none`) and no key came; `user` as `identify_by` has it."""
        user = self.user_name(user)
        standing = self.standing_of(user)
        return Caller(user, standing.team, standing.tier, kind="anonymous", priority=standing.priority)

    def caller_for_user(self, caller: Caller, user: str) -> Caller:
        """The same key speaking for another user: team and tier are the key's own, else that user's.

        The caller decides before whether the key may speak for others.
        """
        found = self._spoken_for.get((caller, user))
        if found is None:
            name = self.user_name(user)
            standing = self.standing_of(name)
            found = Caller(
                name,
                caller.key_team or standing.team,
                caller.key_tier or standing.tier,
                caller.key_id,
                caller.key_name,
                caller.kind,
                caller.may_speak_for_others,
                caller.expires_at,
                key_team=caller.key_team,
                key_tier=caller.key_tier,
                priority=caller.priority if caller.key_tier else standing.priority,
                labels=caller.labels,
            )
            if len(user) <= MEMO_TEXT:
                found = _remember(self._spoken_for, (caller, user), found)
        return found

    def limits_for(self, caller: Caller, model: str | None) -> tuple[Limit, ...]:
        """Every limit that one call by this caller to this model must fit into."""
        found = self._limits.get((caller, model))
        if found is None:
            found = self.resolve_limits(caller, model)
            if model is None or len(model) <= MEMO_TEXT:
                _remember(self._limits, (caller, model), found)
        return found

    def model_allowed(self, caller: Caller, model: str | None) -> bool:
        """Whether every allow-list that applies to the caller has this model. A model that is not known is on no list but `*`."""
        found = self._allowed.get((caller, model))
        if found is None:
            if self.resolve_model_lists is not None:
                lists = self.resolve_model_lists(caller)
            else:
                only = self.resolve_models(caller)
                lists = () if only is None else (only,)
            name = "" if model is None else model.lower()
            found = all(any(fnmatchcase(name, pattern) for pattern in patterns) for patterns in lists)
            if len(name) <= MEMO_TEXT:
                _remember(self._allowed, (caller, model), found)
        return found

    def plan_for(self, caller: Caller, provider: Provider, model: str | None) -> Plan:
        """Everything that is decided for calls by this caller to this model of this provider: one look-up a request."""
        key = (caller, provider.name, model)
        found = self._plans.get(key)
        if found is None:
            known = self.pricebook.model_limits(provider.name, provider.price_provider, model)
            found = Plan(
                f"{provider.name}/{model}",
                self.model_allowed(caller, model),
                self.pricebook.tariff(provider.name, provider.price_provider, model),
                self.limits_for(caller, model),
                known.max_output_tokens,
                known.context_tokens,
            )
            if model is None or len(model) <= MEMO_TEXT:
                _remember(self._plans, key, found)
        return found

    def stop_for(self, provider: str, model: str | None, caller: Caller) -> Mapping[str, str] | None:
        """The emergency stop that forbids this call, if one is in force. Model stops are shell patterns."""
        if not self.stops:
            return None
        name = "" if model is None else model.lower()
        for stop in self.stops:
            scope, value = stop["scope"], stop.get("value", "")
            if (
                scope == "all"
                or (scope == "provider" and value == provider)
                or (scope == "model" and name and fnmatchcase(name, value.lower()))
                or (scope == "user" and value == caller.user)
                or (scope == "team" and value == caller.team)
                or (scope == "key" and value == caller.key_id)
            ):
                return stop
        return None

    def provider_for_default_path(self, path: bytes) -> Provider | None:
        """The provider of a path without a provider's name: `/v1/messages…` and `/v1/complete` speak Anthropic, all else OpenAI."""
        if path.startswith(b"/v1/messages") or path == b"/v1/complete":
            found = self.providers.get("anthropic")
            if found is not None:
                return found
        return self.providers.get(self.default_provider or "openai")


_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


def _remember(memo: dict[_Key, _Value], key: _Key, value: _Value) -> _Value:
    if len(memo) >= MEMO_SIZE:
        memo.clear()
    memo[key] = value
    return value
