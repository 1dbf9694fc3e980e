"""Words of the command line that mean a time or an amount, and questions to the person."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, time, timedelta

from proxy.commands.failures import REFUSED, USAGE, CommandFailed

_BACK = re.compile(r"\+([1-9][0-9]{0,4})([mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def instant(text: str, option: str) -> str:
    """An instant from an ISO date or time (UTC where it names no offset), `midnight`, or from now on: `+2h`, `+7d`.

    Raises:
        CommandFailed: it is none.
    """
    now = datetime.now(UTC)
    if text == "midnight":
        at = datetime.combine(now.date() + timedelta(days=1), time(), UTC)
    elif found := _BACK.fullmatch(text):
        at = now + int(found[1]) * _UNITS[found[2]]
    else:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise CommandFailed(f"{option} {text}: an ISO date or time is wanted, midnight, or +2h, +7d from now.", USAGE) from None
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at.isoformat(timespec="microseconds").replace("+00:00", "Z")


def confirm(question: str, is_sure: bool) -> None:
    """Ask before what cannot be undone. Raises CommandFailed where the answer is no, or nobody can be asked."""
    if is_sure:
        return
    if not sys.stdin.isatty():
        raise CommandFailed(f"{question} Nobody can be asked here: say --yes.", USAGE)
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise CommandFailed("Nothing was done.", REFUSED)


def limit_words(pairs: list[str]) -> dict[str, object]:
    """`tokens.per_day=500000`, `cost_usd.per_month=none`, … in the words of limits.yaml; `none` takes a limit of the override away.

    Raises:
        CommandFailed: not of that form.
    """
    found: dict[str, object] = {}
    for pair in pairs:
        name, is_there, amount = pair.partition("=")
        place = name.strip().split(".")
        if not is_there or not amount or len(place) > 2 or not all(place):
            raise CommandFailed(f"{pair}: say it like tokens.per_day=500000 or concurrent_requests=5.", USAGE)
        value = _amount(amount.strip(), is_money=place[0] == "cost_usd")
        if len(place) == 1:
            found[place[0]] = value
            continue
        windows = found.setdefault(place[0], {})
        if not isinstance(windows, dict):
            raise CommandFailed(f"{pair}: {place[0]} is given twice, with and without a window.", USAGE)
        windows[place[1]] = value
    return found


def _amount(text: str, *, is_money: bool) -> object:
    if text in ("none", "unlimited"):
        return None if text == "none" else text
    plain = text.replace("_", "").replace(",", "")
    if is_money and re.fullmatch(r"[0-9]+(\.[0-9]+)?", plain):
        return plain
    if re.fullmatch(r"[0-9]+", plain):
        return int(plain)
    raise CommandFailed(f"{text}: a number is wanted, or unlimited, or none.", USAGE)
