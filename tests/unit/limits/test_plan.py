"""A plan asks of each limit what the single steps would have asked."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from proxy.limits.estimate import Estimator, parts_of, wanted_of
from proxy.limits.hidden_input import OPEN_ENDED, PLAIN, TOOLS
from proxy.limits.limit import RESOURCES, Demand, Limit
from proxy.limits.plan import Plan
from proxy.pricing.schedule import Period
from proxy.pricing.tariff import Tariff
from proxy.usage.request_facts import RequestFacts

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
TARIFF = Tariff("p/m", "x", (Period({"input_mtok": Decimal(2), "output_mtok": Decimal(8), "cache_write_mtok": Decimal("2.5")}),))
FACTS = RequestFacts("openai.chat", True, "m", choice_count=2, input_bytes=1_000)


def limits(*modes: str) -> tuple[Limit, ...]:
    return tuple(
        Limit(f"{resource}.{mode}", f"c:{resource}", resource, None if resource == "concurrent_requests" else "day", 10**12, mode)
        for mode in modes
        for resource in RESOURCES
    )


@pytest.mark.parametrize("cap", [None, 0, 50, 10**6])
@pytest.mark.parametrize("hidden", [PLAIN, TOOLS, OPEN_ENDED])
@pytest.mark.parametrize("tariff", [None, TARIFF])
@pytest.mark.parametrize("modes", [("strict",), ("balanced",), ("soft",), ("strict", "balanced", "soft"), ()])
def test_demands_are_those_of_the_single_steps(cap: int | None, hidden: int, tariff: Tariff | None, modes: tuple[str, ...]) -> None:
    estimator = Estimator()
    plan = Plan("p/m", True, tariff, limits(*modes), 16_000, 128_000)
    usual = estimator.usual("p/m", 1_000, None, 2)
    capped = usual if cap is None else (usual[0], min(usual[1], 2 * cap))
    worst = estimator.upper_bound("p/m", 1_000, cap, 2, 16_000, 128_000, hidden=hidden)
    usual_nano = worst_nano = None
    if tariff is not None:
        usual_nano = tariff.usual_nano_usd(*capped, started_at=AT)
        worst_nano = tariff.upper_bound_nano_usd(*worst, started_at=AT)
    expected = wanted_of(parts_of(plan.limits), capped, worst, usual_nano, worst_nano)
    assert plan.demands(estimator, FACTS, cap, usual, hidden, AT.timestamp()) == expected


def test_what_each_mode_asks() -> None:
    wanted = {
        limit.name: amount
        for limit, amount in wanted_of(parts_of(limits("strict", "balanced", "soft")), (10, 20), (100, 200), 5, 50)
    }
    assert [wanted[f"{resource}.strict"] for resource in RESOURCES] == [300, 100, 200, 50, 1, 1]
    assert [wanted[f"{resource}.balanced"] for resource in RESOURCES] == [30, 10, 20, 5, 1, 1]
    assert [wanted[f"{resource}.soft"] for resource in RESOURCES] == [0, 0, 0, 0, 0, 1]


def test_units_that_the_request_fixes_are_part_of_the_worst_case() -> None:
    tariff = Tariff("p/m", "x", (Period({"input_mtok": Decimal(2), "output_mtok": Decimal(8), "images_kcount": Decimal(40)}),))
    budget = Limit("b", "c", "cost_usd", "day", 10**12, "strict")
    plan = Plan("p/m", True, tariff, (budget,))
    facts = FACTS._replace(units={"images": Decimal(3)})
    worst = plan.worst(Estimator(), facts, 5)
    bound = tariff.upper_bound_nano_usd(*worst, started_at=AT) + 3 * 40_000_000
    assert plan.demands(Estimator(), facts, 5, (1, 1), PLAIN, AT.timestamp()) == [Demand(budget, bound)]


def test_a_free_model_without_price_is_bounded_by_nothing() -> None:
    assert Plan("p/m", True, None, ()).bound_nano_usd(10, 10, 0.0) == 0
