"""The metrics of the program: name, help text, labels; how records become counts, and how all is exposed.

Rules of this file: all names stand here and begin with `weighbridge_`; counters end in `_total`, times are seconds, sizes
bytes. No label takes its values from what callers make up without a cap: a client must not be able to fill our memory or
the Prometheus server's. Money becomes a float here and nowhere else: this is for charts, the ledger is for invoices.

Calls are counted by the control process from the records as they leave the spool; gauges come from the workers at each
scrape (`worker_gauges.py`), and so need no shared directory between processes.
"""

from __future__ import annotations

import platform
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder

from proxy.limits.limit import RESOURCES
from proxy.records import UsageRecord
from proxy.telemetry.batch_histogram import BatchHistogram
from proxy.telemetry.worker_gauges import DrainGauges, WorkerGauges

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series per counter, of use to nobody here

OTHER = "other"
MAX_MODELS = 200
MAX_USERS = 1000
MAX_PROVIDERS = 100
MAX_APIS = 64
DURATION_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
FIRST_BYTE_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 20, 30, 60)
OVERHEAD_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)
COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
TOKEN_KINDS = ("input", "cache_read", "cache_write", "output", "reasoning", "input_audio", "output_audio")
_FIELDS = UsageRecord._fields
(
    _USER, _PROVIDER, _API, _REQUEST_MODEL, _RESPONSE_MODEL, _STATUS, _OUTCOME, _LIMIT, _USAGE_SOURCE, _DETAILS, _TOTAL_TOKENS,
    _COST, _DURATION, _FIRST_BYTE, _OVERHEAD,
) = (
    _FIELDS.index(name)
    for name in (
        "user", "provider", "api", "request_model", "response_model", "status", "outcome", "limit", "usage_source", "usage_details",
        "total_tokens", "cost_usd", "duration_ms", "time_to_first_byte_ms", "overhead_ms",
    )
)  # fmt: skip
_TOKEN_FIELDS = tuple((kind, UsageRecord._fields.index(f"{kind}_tokens")) for kind in TOKEN_KINDS)
_SCOPES = {"global": "global", "defaults": "user", "tiers": "tier", "teams": "team", "users": "user", "keys": "key"}

Columns = list[tuple[Any, ...]]
"""Records by column, in the order of their fields."""


class LabelCap:
    """At most `limit` values of a label, first come; all later ones are `other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: dict[str, str] = {}

    def __call__(self, value: str | None) -> str:
        if not value:
            return "unknown"
        found = self._seen.get(value)
        if found is not None:
            return found
        if len(self._seen) >= self._limit:
            return OTHER
        kept = value[:120]
        self._seen[value] = kept
        return kept


class Metrics:
    """The program's metrics in a registry of their own. Not thread-safe beyond what prometheus_client is."""

    def __init__(
        self, version: str, *, has_user_label: bool = False, max_models: int = MAX_MODELS, max_users: int = MAX_USERS
    ) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._model = LabelCap(max_models)
        self._user = LabelCap(max_users)
        self._provider = LabelCap(MAX_PROVIDERS)
        self._api = LabelCap(MAX_APIS)
        self._has_user_label = has_user_label
        self._make_call_metrics()
        self._make_house_metrics()
        self.workers = WorkerGauges()
        self.drain = DrainGauges()
        self.registry.register(self.workers)
        self.registry.register(self.drain)
        build = self._gauge("weighbridge_build_info", "Always 1; the version runs here.", ("version", "python"))
        build.labels(version, platform.python_version()).set(1)

    def _counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
        return Histogram(name, text, labels, registry=self.registry, buckets=buckets)

    def _batch_histogram(self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> BatchHistogram:
        histogram = BatchHistogram(name, text, labels, buckets)
        self.registry.register(histogram)
        return histogram

    def _make_call_metrics(self) -> None:
        self._requests = self._counter(
            "weighbridge_requests_total",
            "Answered requests, refused and failed ones too.",
            ("provider", "api", "outcome", "status_class"),
        )
        self._tokens = self._counter(
            "weighbridge_tokens_total",
            "Tokens by kind: cache_read, cache_write and input_audio are part of input; reasoning and output_audio of output.",
            ("provider", "model", "kind"),
        )
        self._cost = self._counter("weighbridge_cost_usd_total", "Cost of priced calls in US dollars.", ("provider", "model"))
        self._denied = self._counter(
            "weighbridge_denials_total",
            "Calls refused by a limit, or for another reason (resource `none`).",
            ("resource", "window", "scope"),
        )
        self._usage_missing = self._counter(
            "weighbridge_usage_missing_total", "Successful answers that should carry usage and did not.", ("provider", "api")
        )
        self._unpriced = self._counter(
            "weighbridge_unpriced_total", "Calls with tokens whose price is not known.", ("provider", "model")
        )
        self._estimated = self._counter("weighbridge_estimated_total", "Calls whose usage is an estimate.", ("provider", "api"))
        timed = ("provider", "api")
        self._duration = self._batch_histogram(
            "weighbridge_request_duration_seconds", "From the request's first byte to the answer's last.", timed, DURATION_BUCKETS
        )
        self._first_byte = self._batch_histogram(
            "weighbridge_time_to_first_byte_seconds",
            "From the request's first byte to the answer's first.",
            timed,
            FIRST_BYTE_BUCKETS,
        )
        self._overhead = self._batch_histogram(
            "weighbridge_overhead_seconds", "Time that this program added to a call.", ("provider",), OVERHEAD_BUCKETS
        )
        if self._has_user_label:
            self._user_tokens = self._counter(
                "weighbridge_user_tokens_total", "Tokens by user (server.yaml metrics_user_label).", ("user",)
            )
            self._user_cost = self._counter(
                "weighbridge_user_cost_usd_total", "Cost by user (server.yaml metrics_user_label).", ("user",)
            )

    def _make_house_metrics(self) -> None:
        self.commit_seconds = self._histogram(
            "weighbridge_ledger_commit_seconds", "Time of one batch into the ledger.", (), COMMIT_BUCKETS
        )
        self.ledger_rows = self._counter("weighbridge_ledger_rows_total", "Records new in the ledger.")
        self.ledger_duplicates = self._counter("weighbridge_ledger_duplicates_total", "Records that the ledger had already.")
        self.ledger_failures = self._counter(
            "weighbridge_ledger_commit_failures_total", "Batches that the ledger did not take (they are tried again)."
        )
        self.reloads = self._counter(
            "weighbridge_config_reloads_total", "Configurations seen, by whether they were accepted.", ("result",)
        )
        self.config_ok = self._gauge("weighbridge_config_ok", "1 where the files on disk are in force, 0 where they were refused.")
        self.config_loaded_at = self._gauge(
            "weighbridge_config_loaded_timestamp_seconds", "When the configuration in force was accepted."
        )
        self.config_version = self._gauge("weighbridge_config_version_info", "Always 1; the version in force.", ("version",))
        self.task_failures = self._counter(
            "weighbridge_task_failures_total", "Background tasks that ended by an exception.", ("task",)
        )
        self.alerts_raised = self._counter("weighbridge_alerts_total", "Alerts raised.", ("kind",))
        self.deliveries = self._counter(
            "weighbridge_alert_deliveries_total", "Alert messages by channel and result.", ("channel", "result")
        )
        self.live_dropped = self._counter(
            "weighbridge_live_dropped_total", "Events that a slow viewer of the live feed did not get."
        )

    def observe(self, records: Iterable[UsageRecord]) -> None:
        """Count records that are new in the ledger.

        By column and group: 1.9 µs a record; touching a counter's lock for each costs ten times that.
        """
        columns = list(zip(*records, strict=True))
        if not columns:
            return
        providers = list(map(self._provider, columns[_PROVIDER]))
        apis = list(map(self._api, columns[_API]))
        self._observe_outcomes(columns, providers, apis)
        self._observe_usage(columns, providers)
        self._observe_times(columns, providers, apis)
        if self._has_user_label:
            self._observe_users(columns)

    def _observe_outcomes(self, columns: Columns, providers: list[str], apis: list[str]) -> None:
        outcomes = columns[_OUTCOME]
        answered = Tally(zip(providers, apis, outcomes, columns[_STATUS], strict=True))
        for (provider, api, outcome, status), count in answered.items():
            self._requests.labels(provider, api, outcome, f"{status // 100}xx" if status else "none").inc(count)
        if "denied" in outcomes:
            denied = Tally(limit for limit, outcome in zip(columns[_LIMIT], outcomes, strict=True) if outcome == "denied")
            for limit, count in denied.items():
                self._denied.labels(*limit_labels(limit)).inc(count)
        if "estimated" in columns[_USAGE_SOURCE]:
            kinds = Tally(zip(providers, apis, columns[_USAGE_SOURCE], strict=True))
            for (provider, api, source), count in kinds.items():
                if source == "estimated":
                    self._estimated.labels(provider, api).inc(count)
        missing = [at for at, details in enumerate(columns[_DETAILS]) if details and details.get("usage_missing")]
        for at in missing:
            self._usage_missing.labels(providers[at], apis[at]).inc()

    def _observe_usage(self, columns: Columns, providers: list[str]) -> None:
        totals, costs = columns[_TOTAL_TOKENS], columns[_COST]
        models: dict[tuple[str, str | None], list[int]] = {}
        rows = zip(providers, columns[_RESPONSE_MODEL], columns[_REQUEST_MODEL], totals, costs, strict=True)
        for at, (provider, served, asked, total, cost) in enumerate(rows):
            if total or cost is not None:  # names of models that no provider served stay out of the cap's table
                key = (provider, served or asked)
                if key in models:
                    models[key].append(at)
                else:
                    models[key] = [at]
        for (provider, name), places in models.items():
            labels = (provider, self._model(name))
            for kind, index in _TOKEN_FIELDS:
                column = columns[index]
                if count := sum(tokens for at in places if (tokens := column[at]) and tokens > 0):
                    self._tokens.labels(*labels, kind).inc(count)
            priced = [float(cost) for at in places if (cost := costs[at]) is not None]
            if priced:
                self._cost.labels(*labels).inc(sum(cost for cost in priced if cost > 0))
            if len(priced) < len(places):
                self._unpriced.labels(*labels).inc(len(places) - len(priced))

    def _observe_times(self, columns: Columns, providers: list[str], apis: list[str]) -> None:
        sources = columns[_USAGE_SOURCE]
        routes: dict[tuple[str, str], list[int]] = {}
        for at, route in enumerate(zip(providers, apis, strict=True)):
            if sources[at] != "tracked":
                routes.setdefault(route, []).append(at)
        for (provider, api), places in routes.items():
            for histogram, labels, index in (
                (self._duration, (provider, api), _DURATION),
                (self._first_byte, (provider, api), _FIRST_BYTE),
                (self._overhead, (provider,), _OVERHEAD),
            ):
                column = columns[index]
                histogram.observe(labels, [seconds / 1000 for at in places if (seconds := column[at]) is not None])

    def _observe_users(self, columns: Columns) -> None:
        tokens: dict[str, int] = {}
        costs: dict[str, float] = {}
        for user, total, cost in zip(columns[_USER], columns[_TOTAL_TOKENS], columns[_COST], strict=True):
            label = self._user(user)
            tokens[label] = tokens.get(label, 0) + (total or 0)
            costs[label] = costs.get(label, 0.0) + max(0.0, float(cost or 0))
        for label, total in tokens.items():
            self._user_tokens.labels(label).inc(total)
            self._user_cost.labels(label).inc(costs[label])

    def committed(self, row_count: int, new_count: int, seconds: float) -> None:
        """One batch is in the ledger: `row_count` were sent, `new_count` of them were new."""
        self.commit_seconds.observe(seconds)
        self.ledger_rows.inc(new_count)
        self.ledger_duplicates.inc(row_count - new_count)

    def reloaded(self, version: str, at: float) -> None:
        """A configuration was accepted and is in force."""
        self.reloads.labels("ok").inc()
        self.config_ok.set(1)
        self.config_loaded_at.set(at)
        self.config_version.clear()
        self.config_version.labels(version).set(1)

    def refused(self) -> None:
        """A configuration was refused; the old one stays in force."""
        self.reloads.labels("refused").inc()
        self.config_ok.set(0)

    def task_failed(self, name: str, failure: BaseException) -> None:
        """For `telemetry.tasks.Tasks(on_failure=…)`; numbers at a name's end are left out so that names stay few."""
        self.task_failures.labels(name.rstrip("0123456789-")).inc()

    def exposition(self, accept: str) -> tuple[bytes, str]:
        """All metrics as text or OpenMetrics, whichever `accept` prefers. Returns (body, content type)."""
        encode: Callable[[CollectorRegistry], bytes]
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


def limit_labels(limit: str | None) -> tuple[str, str, str]:
    """(resource, window, scope) of a limit's name such as `users.alice.tokens.per_day`; names may hold dots themselves."""
    parts = (limit or "").split(".")
    scope = _SCOPES.get(parts[0], OTHER if limit else "none")
    if parts[-1] == "concurrent_requests":
        return "concurrent_requests", "none", scope
    if len(parts) > 2 and parts[-2] in RESOURCES:
        return parts[-2], parts[-1].removeprefix("per_"), scope
    return OTHER if limit else "none", "none", scope
