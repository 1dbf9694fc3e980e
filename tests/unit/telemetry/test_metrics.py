"""Records become counts; labels stay few; both expositions can be read."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from proxy.records import UsageRecord
from proxy.telemetry.metrics import LabelCap, Metrics, limit_labels


def make_record(**changes: object) -> UsageRecord:
    fields: dict[str, object] = dict.fromkeys(UsageRecord._fields)
    fields |= {
        "id": "r1", "started_at": "2026-11-21T10:00:00.000000Z", "duration_ms": 1500.0, "time_to_first_byte_ms": 200.0,
        "user": "alice",
        "provider": "openai", "api": "openai.chat", "method": "POST", "path": "/v1/chat/completions", "request_model": "gpt-4o",
        "response_model": "gpt-4o-2024-08-06", "streamed": False, "status": 200, "outcome": "ok", "input_tokens": 100,
        "cache_read_tokens": 40, "output_tokens": 20, "reasoning_tokens": 5, "total_tokens": 120, "usage_source": "reported",
        "cost_usd": "0.0005", "overhead_ms": 0.2,
    }  # fmt: skip
    return UsageRecord(**{**fields, **changes})  # type: ignore[arg-type]


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def series_count(metrics: Metrics) -> int:
    return sum(len(family.samples) for family in metrics.registry.collect())


def test_a_record_is_counted_by_provider_model_and_kind() -> None:
    metrics = Metrics("1.2.3")
    metrics.observe([make_record(), make_record(id="r2")])
    by_model = {"provider": "openai", "model": "gpt-4o-2024-08-06"}
    assert value(metrics, "weighbridge_requests_total", provider="openai", api="openai.chat", outcome="ok", status_class="2xx") == 2
    assert value(metrics, "weighbridge_tokens_total", **by_model, kind="input") == 2 * 100
    assert value(metrics, "weighbridge_tokens_total", **by_model, kind="cache_read") == 2 * 40
    assert value(metrics, "weighbridge_tokens_total", **by_model, kind="output") == 2 * 20
    assert value(metrics, "weighbridge_tokens_total", **by_model, kind="reasoning") == 2 * 5
    assert value(metrics, "weighbridge_cost_usd_total", **by_model) == pytest.approx(2 * 0.0005)
    assert value(metrics, "weighbridge_request_duration_seconds_sum", provider="openai", api="openai.chat") == pytest.approx(3.0)
    assert value(metrics, "weighbridge_overhead_seconds_count", provider="openai") == 2
    assert value(metrics, "weighbridge_unpriced_total", **by_model) is None


def test_what_is_wrong_with_a_call_is_counted() -> None:
    metrics = Metrics("1")
    metrics.observe(
        [make_record(cost_usd=None), make_record(usage_source="estimated"), make_record(usage_details={"usage_missing": True})]
    )
    metrics.observe([make_record(outcome="denied", status=429, total_tokens=None, cost_usd=None, limit="users.a.b.tokens.per_day")])
    assert value(metrics, "weighbridge_unpriced_total", provider="openai", model="gpt-4o-2024-08-06") == 1
    assert value(metrics, "weighbridge_estimated_total", provider="openai", api="openai.chat") == 1
    assert value(metrics, "weighbridge_usage_missing_total", provider="openai", api="openai.chat") == 1
    assert value(metrics, "weighbridge_denials_total", resource="tokens", window="day", scope="user") == 1


def test_tracked_usage_counts_tokens_but_no_times() -> None:
    metrics = Metrics("1")
    metrics.observe([make_record(usage_source="tracked", duration_ms=0.0)])
    assert value(metrics, "weighbridge_tokens_total", provider="openai", model="gpt-4o-2024-08-06", kind="input") == 100
    assert value(metrics, "weighbridge_request_duration_seconds_count", provider="openai", api="openai.chat") is None


def test_a_hundred_thousand_users_and_models_do_not_grow_the_series() -> None:
    metrics = Metrics("1", has_user_label=True, max_models=50, max_users=50)
    metrics.observe(make_record(user=f"u{n}", response_model=f"m{n}") for n in range(1000))
    after_a_thousand = series_count(metrics)
    metrics.observe(
        make_record(user=f"u{n}", response_model=f"m{n}", provider="openai", api="openai.chat") for n in range(1000, 100_000)
    )
    assert series_count(metrics) == after_a_thousand
    assert value(metrics, "weighbridge_tokens_total", provider="openai", model="other", kind="input") == 100 * (100_000 - 50)
    assert value(metrics, "weighbridge_user_tokens_total", user="other") == 120 * (100_000 - 50)


def test_users_are_no_label_by_default() -> None:
    metrics = Metrics("1")
    metrics.observe([make_record(user="a-very-private-name")])
    assert b"a-very-private-name" not in metrics.exposition("")[0]


def test_models_that_no_provider_served_take_no_place_under_the_cap() -> None:
    metrics = Metrics("1", max_models=1)
    metrics.observe(
        make_record(response_model=f"junk{n}", status=404, outcome="upstream_error", total_tokens=None, cost_usd=None)
        for n in range(9)
    )
    metrics.observe([make_record()])
    assert value(metrics, "weighbridge_cost_usd_total", provider="openai", model="gpt-4o-2024-08-06") == pytest.approx(0.0005)


def test_text_and_openmetrics_by_accept() -> None:
    metrics = Metrics("1")
    metrics.observe([make_record()])
    metrics.workers.update([{"worker": 0, "in_flight": 3, "counters": {"edits": 7}}])
    text, text_type = metrics.exposition("text/plain")
    modern, modern_type = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert text_type.startswith("text/plain")
    assert modern_type.startswith("application/openmetrics-text")
    assert {family.name for family in read_text(text.decode())} >= {"weighbridge_requests", "weighbridge_in_flight_requests"}
    assert {family.name for family in read_openmetrics(modern.decode())} >= {"weighbridge_requests", "weighbridge_worker_edits"}


def test_all_names_begin_alike() -> None:
    metrics = Metrics("1", has_user_label=True)
    assert [family.name for family in metrics.registry.collect() if not family.name.startswith("weighbridge_")] == []
    assert [family.name for family in metrics.registry.collect() if not family.documentation] == []


@dataclass
class _Case:
    limit: str | None
    labels: tuple[str, str, str]


@pytest.mark.parametrize(
    "case",
    [
        _Case("users.alice.tokens.per_day", ("tokens", "day", "user")),
        _Case("defaults.cost_usd.per_month", ("cost_usd", "month", "user")),
        _Case("teams.r.d.per_model.gpt-4.1*.output_tokens.total", ("output_tokens", "total", "team")),
        _Case("global.concurrent_requests", ("concurrent_requests", "none", "global")),
        _Case("models.alice", ("other", "none", "other")),
        _Case(None, ("none", "none", "none")),
    ],
)
def test_a_limits_name_becomes_three_closed_labels(case: _Case) -> None:
    assert limit_labels(case.limit) == case.labels


def test_the_cap_keeps_the_first_and_shortens_them() -> None:
    cap = LabelCap(2)
    assert [cap("a"), cap("b" * 500), cap("c"), cap("a"), cap(None)] == ["a", "b" * 120, "other", "a", "unknown"]


def test_reloads_leave_one_version() -> None:
    metrics = Metrics("1")
    metrics.reloaded("v1", 1000.0)
    metrics.refused()
    assert value(metrics, "weighbridge_config_ok") == 0
    metrics.reloaded("v2", 2000.0)
    assert value(metrics, "weighbridge_config_ok") == 1
    assert value(metrics, "weighbridge_config_version_info", version="v1") is None
    assert value(metrics, "weighbridge_config_version_info", version="v2") == 1
    assert value(metrics, "weighbridge_config_reloads_total", result="ok") == 2


def test_worker_answers_with_odd_shapes_are_passed_over() -> None:
    metrics = Metrics("1")
    metrics.workers.update(
        [{"worker": 1, "in_flight": "many", "upstreams": [], "quota": {"state": "local", "holds": 2}, "spool": {"lost": 4}}]
    )
    assert value(metrics, "weighbridge_quota_store_state", worker="1", state="local") == 1
    assert value(metrics, "weighbridge_quota_store_state", worker="1", state="normal") == 0
    assert value(metrics, "weighbridge_spool_lost_total", worker="1") == 4
    assert value(metrics, "weighbridge_in_flight_requests", worker="1") is None
    assert value(metrics, "weighbridge_workers") == 1


def test_what_was_decided_without_the_store_is_told_by_policy() -> None:
    metrics = Metrics("1")
    decisions = {"local": 5, "open": 0, "closed": 2, "other": 9}
    metrics.workers.update([{"worker": 1, "quota": {"decisions": decisions}}, {"worker": 2, "quota": {"decisions": {}}}])
    name = "weighbridge_quota_store_failure_decisions_total"
    assert [value(metrics, name, worker="1", policy=policy) for policy in decisions] == [5, 0, 2, None]
    assert value(metrics, name, worker="2", policy="local") is None


def test_the_drains_figures_are_metrics() -> None:
    metrics = Metrics("1")
    metrics.drain.update(
        {"backlog_records": 12, "backlog_bytes": 3400, "backlog_age_seconds": 1.5, "is_ledger_away": True, "poisoned": 2}
    )
    assert value(metrics, "weighbridge_spool_backlog_records") == 12
    assert value(metrics, "weighbridge_ledger_away") == 1
    assert value(metrics, "weighbridge_spool_poisoned_total") == 2
