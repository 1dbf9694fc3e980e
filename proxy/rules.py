"""Rules: all that the configuration decides, immutable; one request sees one Rules from beginning to end.

Built by `config/build.py`, swapped whole on reload. Look-ups that depend on who calls are memoised here, so that the
request's way pays for them once per caller and model and not per request. Pure: no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo

from proxy.limits.limit import Limit
from proxy.pricing.pricebook import Pricebook
from proxy.routing.callers import Caller, key_digest
from proxy.routing.provider import Provider

MEMO_SIZE = 50_000
"""Entries a memo may hold before it is emptied: bounds memory where callers or models are made up (10 MB or so)."""


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


@dataclass(frozen=True, slots=True)
class ModelRule:
    """Allow-list of a user, team or key: shell patterns, lower case."""

    patterns: tuple[str, ...]


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
    """Emergency stops in force: each maps `scope` (all, provider, model, team, user) and `value`, `reason`, `cut_streams`."""
    _limits: dict[tuple[Caller, str | None], tuple[Limit, ...]] = field(default_factory=dict, repr=False, compare=False)

    def caller_of(self, key: str) -> Caller | None:
        """The caller a virtual key stands for; None where the key is not listed."""
        return self.callers.get(key_digest(key))

    def limits_for(self, caller: Caller, model: str | None) -> tuple[Limit, ...]:
        """Every limit that one call by this caller to this model must fit into."""
        found = self._limits.get((caller, model))
        if found is None:
            if len(self._limits) >= MEMO_SIZE:
                self._limits.clear()
            found = self._limits[(caller, model)] = self.resolve_limits(caller, model)
        return found
