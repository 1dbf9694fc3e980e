"""Figures that only the workers and the drain know, put into one registry at scrape time.

The control process asks each worker over its unix socket (`proxy/control/workers.py`) and puts the answers here; a worker
that does not answer is simply not in the series, and `weighbridge_workers` says how many do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

MAX_POOLS = 100
MAX_OWN = 50
"""How many names of its own a worker may add."""

_WORKER_GAUGES = {
    "in_flight": ("weighbridge_in_flight_requests", "Requests being served."),
    "open_connections": ("weighbridge_open_connections", "Open client connections."),
    "draining": ("weighbridge_draining_streams", "Answers read to their end although the client is gone."),
    "restarts": ("weighbridge_worker_restarts", "How often this worker was started again."),
    "started_at": ("weighbridge_worker_start_timestamp_seconds", "When this worker was started."),
}
_SPOOL_COUNTERS = {
    "lost": ("weighbridge_spool_lost", "Records that could not be put on disk."),
    "poisoned": ("weighbridge_spool_unwritable", "Records that could not be made into a line."),
}
_QUOTA_STATES = ("normal", "local", "open", "closed")


class WorkerGauges:
    """What the workers said at this scrape, as gauges; a registry's collector."""

    def __init__(self) -> None:
        self._stats: Sequence[Mapping[str, object]] = ()

    def update(self, stats: Sequence[Mapping[str, object]]) -> None:
        """One answer of `{"call": "stats"}` per worker."""
        self._stats = stats

    def describe(self) -> list[Metric]:
        return []  # names are known only when a worker has spoken; nothing to check for duplicates at registration

    def collect(self) -> list[Metric]:
        families: dict[str, Metric] = {}
        alive = GaugeMetricFamily("weighbridge_workers", "Relay workers that answer.", value=len(self._stats))
        for stats in self._stats:
            worker = str(stats.get("worker", "?"))
            for field, (name, text) in _WORKER_GAUGES.items():
                _add(families, GaugeMetricFamily, name, text, {"worker": worker}, stats.get(field))
            spool = stats.get("spool")
            if isinstance(spool, Mapping):
                for field, (name, text) in _SPOOL_COUNTERS.items():
                    _add(families, CounterMetricFamily, name, text, {"worker": worker}, spool.get(field))
            self._collect_upstreams(families, worker, stats.get("upstreams"))
            self._collect_quota(families, worker, stats.get("quota"))
            self._collect_own(families, worker, stats)
        return [alive, *families.values()]

    def _collect_upstreams(self, families: dict[str, Metric], worker: str, upstreams: object) -> None:
        if not isinstance(upstreams, Mapping):
            return
        name, text = "weighbridge_upstream_connections", "Connections to providers, and requests that wait for one."
        for provider, pool in list(upstreams.items())[:MAX_POOLS]:
            if isinstance(pool, Mapping):
                for state in ("open", "idle", "waiting"):
                    labels = {"worker": worker, "provider": str(provider), "state": state}
                    _add(families, GaugeMetricFamily, name, text, labels, pool.get(state))

    def _collect_quota(self, families: dict[str, Metric], worker: str, quota: object) -> None:
        if not isinstance(quota, Mapping):
            return
        current = str(quota.get("state", "normal"))
        name, text = "weighbridge_quota_store_state", "1 for the quota store's state: normal, or the policy while it is away."
        for state in _QUOTA_STATES:
            _add(families, GaugeMetricFamily, name, text, {"worker": worker, "state": state}, int(state == current))
        by_worker = {"worker": worker}
        _add(families, GaugeMetricFamily, "weighbridge_quota_holds", "Reservations not settled yet.", by_worker, quota.get("holds"))
        name, text = "weighbridge_quota_store_errors", "Failed calls of the quota store."
        _add(families, CounterMetricFamily, name, text, by_worker, quota.get("errors"))
        decisions = quota.get("decisions")
        if isinstance(decisions, Mapping):
            name, text = "weighbridge_quota_store_failure_decisions", "Calls decided without the quota store, by on_store_failure."
            for policy in _QUOTA_STATES[1:]:
                _add(families, CounterMetricFamily, name, text, {"worker": worker, "policy": policy}, decisions.get(policy))

    def _collect_own(self, families: dict[str, Metric], worker: str, stats: Mapping[str, object]) -> None:
        for field, family in (("counters", CounterMetricFamily), ("gauges", GaugeMetricFamily)):
            values = stats.get(field)
            if isinstance(values, Mapping):
                for name, value in list(values.items())[:MAX_OWN]:
                    _add(families, family, f"weighbridge_worker_{name}", "Reported by the worker.", {"worker": worker}, value)


_DRAIN_GAUGES = {
    "backlog_records": ("weighbridge_spool_backlog_records", "Records on disk that are not in the ledger yet (estimated)."),
    "backlog_bytes": ("weighbridge_spool_backlog_bytes", "Bytes on disk that are not in the ledger yet."),
    "backlog_age_seconds": ("weighbridge_spool_backlog_age_seconds", "Age of the oldest record that is not in the ledger yet."),
    "is_ledger_away": ("weighbridge_ledger_away", "1 while the ledger does not take records."),
}
_DRAIN_COUNTERS = {
    "poisoned": ("weighbridge_spool_poisoned", "Spooled lines that could not be read or stored and were put aside."),
    "torn": ("weighbridge_spool_torn", "Last lines of killed writers that were not whole."),
    "observer_errors": ("weighbridge_observer_errors", "Faults of metrics, alerts or the live feed on records."),
}


class DrainGauges:
    """What the drain says of the spool, as metrics; a registry's collector."""

    def __init__(self) -> None:
        self._stats: Mapping[str, object] = {}

    def update(self, stats: Mapping[str, object]) -> None:
        """The drain's figures by name (`spool.drain.DrainStats`)."""
        self._stats = stats

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> list[Metric]:
        families: dict[str, Metric] = {}
        for field, (name, text) in _DRAIN_GAUGES.items():
            _add(families, GaugeMetricFamily, name, text, {}, self._stats.get(field))
        for field, (name, text) in _DRAIN_COUNTERS.items():
            _add(families, CounterMetricFamily, name, text, {}, self._stats.get(field))
        return list(families.values())


def _add(
    families: dict[str, Metric],
    family: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    text: str,
    labels: Mapping[str, str],
    value: object,
) -> None:
    if not isinstance(value, (int, float)):
        return
    if name not in families:
        families[name] = family(name, text, labels=list(labels))
    families[name].add_metric(list(labels.values()), value)  # type: ignore[attr-defined]
