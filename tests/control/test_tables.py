"""Tables from one look at the ledger are those that it gives one by one."""

from __future__ import annotations

from typing import Any

from proxy.control import tables
from proxy.ledger.ledger import RecordFilter

NAMES = ("provider", "model", "team", "user")


async def test_one_look_gives_what_many_give(house: Any, record: Any, monkeypatch: Any) -> None:
    made = [
        record(user=f"u{n % 7}", team=None if n % 3 else "t", response_model=f"m{n % 5}", cost_usd=f"0.00{n % 4}1", outcome=outcome)
        for n in range(60)
        for outcome in ("ok", "denied")
    ]
    await house.ledger.append(made)
    which = RecordFilter(provider="openai")  # of everybody Postgres has such sums already
    one_by_one = {name: await house.ledger.sums(which, (name,), 5) for name in NAMES}
    whole, found = await tables.tables(house.context, which, NAMES, 5)
    assert found == one_by_one
    assert [whole] == [row.sums for row in await house.ledger.sums(which)]
    monkeypatch.setattr(tables, "MAX_COMBINATIONS", 10)
    assert await tables.tables(house.context, which, NAMES, 5) == (whole, one_by_one)
    assert house.context.wide_tables == {NAMES}
    assert await tables.tables(house.context, which, NAMES, 5) == (whole, one_by_one)
