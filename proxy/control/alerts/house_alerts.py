"""What the house says of itself: the ledger behind, the quota store away, a configuration refused, records lost. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256

from proxy.control.alerts.alert import Alert
from proxy.control.periods import iso

BEHIND_SECONDS = 60.0


def house_alerts(
    drain: Mapping[str, object], workers: Sequence[Mapping[str, object]], mistakes: Sequence[str], now: datetime
) -> list[Alert]:
    """
    Args:
        drain: the drain's figures by name.
        workers: each worker's answer to `stats`.
        mistakes: why the files on disk are not in force.
    """
    found = [_behind(drain, now), _lost(workers, now), _refused(mistakes, now)]
    return [alert for alert in (*found, *_stores_away(workers, now)) if alert is not None]


def _behind(drain: Mapping[str, object], now: datetime) -> Alert | None:
    age, waiting = _number(drain.get("backlog_age_seconds")), int(_number(drain.get("backlog_records")))
    if age < BEHIND_SECONDS:
        return None
    why = "it cannot be reached" if drain.get("is_ledger_away") else "it takes them too slowly"
    text = f"About {waiting} records wait on disk, the oldest for {age:.0f} s: {why}. Calls go on, nothing is lost."
    facts: dict[str, object] = {"age_seconds": round(age, 1), "records": waiting}
    name = f"ledger_behind:{now:%Y-%m-%dT%H}"
    return Alert(name, "ledger_behind", "critical", iso(now), "The ledger is behind", text, None, facts)


def _stores_away(workers: Sequence[Mapping[str, object]], now: datetime) -> list[Alert | None]:
    states = {
        str(quota.get("state")) for stats in workers if isinstance(quota := stats.get("quota"), Mapping) and quota.get("state")
    }
    return [
        Alert(
            f"store_away:{state}:{now:%Y-%m-%dT%H}",
            "store_away",
            "critical",
            iso(now),
            "The quota store is away",
            f"Limits follow on_store_failure: {state}, until it is back.",
            None,
            {"state": state},
        )
        for state in sorted(states - {"normal"})
    ]


def _lost(workers: Sequence[Mapping[str, object]], now: datetime) -> Alert | None:
    lost = sum(int(_number(spool.get("lost"))) for stats in workers if isinstance(spool := stats.get("spool"), Mapping))
    if lost == 0:
        return None
    text = f"{lost} records since the workers' start could not be put on disk: is the data directory full?"
    name = f"records_lost:{now:%Y-%m-%dT%H}"
    return Alert(name, "ledger_behind", "critical", iso(now), "Records are being lost", text, None, {"lost": lost})


def _refused(mistakes: Sequence[str], now: datetime) -> Alert | None:
    if not mistakes:
        return None
    text = "The last good configuration stays in force. " + "; ".join(mistakes[:5])
    name = "config_refused:" + sha256("\n".join(mistakes).encode()).hexdigest()[:16]
    title = "A changed configuration was refused"
    return Alert(name, "config_refused", "warning", iso(now), title, text[:2000], None, {"mistakes": len(mistakes)})


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
