"""What was changed through the API, on this replica or another, into the rules in force: keys, overrides, stops.

The ledger is where they live; four times a second its change marker is asked, and where it moved, or something has come
to its end, the overlay is read and handed to `publish`, which writes it into the workers' snapshot. While the ledger is
away the last overlay stays in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime

import structlog

from proxy.control.overrides import PREFIX as OVERRIDE_PREFIX
from proxy.control.periods import iso
from proxy.control.switch import PREFIX as STOP_PREFIX
from proxy.errors import LedgerError
from proxy.ledger.ledger import Ledger

POLL_SECONDS = 0.25
Overlay = dict[str, object]

_log = structlog.get_logger("control.overlay")


class OverlayKeeper:
    """Keeps the overlay in force equal to what the ledger says."""

    def __init__(self, ledger: Ledger, publish: Callable[[Overlay], Awaitable[None]], clock: Callable[[], float]) -> None:
        """
        Args:
            publish: puts an overlay into force; called only when it differs from the last one.
            clock: Unix seconds.
        """
        self._ledger = ledger
        self._publish = publish
        self._clock = clock
        self._marker: str | None = None
        self._ends_at: str | None = None
        self._last: Overlay | None = None
        self._is_ledger_away = False
        self._is_unwritable = False
        self._turn = asyncio.Lock()

    async def run(self) -> None:
        """Poll until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(POLL_SECONDS)

    async def poll(self) -> None:
        """Look once; never raises for a ledger that is away, nor for a disk that is full: the next look tries again."""
        try:
            marker = await self._ledger.change_marker()
            if marker != self._marker or (self._ends_at is not None and self._ends_at <= self._now()):
                await self.refresh()
        except LedgerError as failure:
            if not self._is_ledger_away:
                _log.warning("ledger is away; keys, overrides and stops stay as they are", reason=str(failure))
            self._is_ledger_away = True
            return
        except OSError as failure:
            if not self._is_unwritable:
                _log.error("the rules cannot be written; keys, overrides and stops stay as they are", reason=str(failure))
            self._is_unwritable = True
            return
        self._is_unwritable = False
        self._is_ledger_away = False

    async def refresh(self) -> None:
        """Read and publish now.

        Raises:
            LedgerError: the ledger is away.
        """
        async with self._turn:
            marker = await self._ledger.change_marker()  # before reading: a change in between is seen next time
            overlay, ends_at = await read_overlay(self._ledger, self._now())
            if overlay != self._last:
                await self._publish(overlay)
            self._marker, self._ends_at, self._last = marker, ends_at, overlay

    def _now(self) -> str:
        return iso(datetime.fromtimestamp(self._clock(), UTC))


async def read_overlay(ledger: Ledger, now: str) -> tuple[Overlay, str | None]:
    """The overlay at an instant, and when the first part of it ends."""
    keys = [key for key in await ledger.keys() if key.revoked_at is None and (key.expires_at is None or key.expires_at > now)]
    overrides = {
        name.removeprefix(OVERRIDE_PREFIX): override
        for name, override in (await ledger.settings(OVERRIDE_PREFIX)).items()
        if isinstance(override, dict) and (not override.get("until") or str(override["until"]) > now)
    }
    stops = [_stop(stop) for stop in (await ledger.settings(STOP_PREFIX)).values() if isinstance(stop, dict)]
    ends = [key.expires_at for key in keys if key.expires_at] + [
        str(one["until"]) for one in overrides.values() if one.get("until")
    ]
    overlay: Overlay = {
        "keys": sorted((asdict(key) for key in keys), key=lambda key: str(key["key_sha256"])),
        "overrides": [{"user": user, **override} for user, override in sorted(overrides.items())],
        "stops": sorted(stops, key=lambda stop: (stop["scope"], stop["value"])),
    }
    return overlay, min(ends, default=None)


def _stop(stop: Mapping[str, object]) -> dict[str, str]:
    return {
        "scope": str(stop.get("scope", "all")),
        "value": str(stop.get("value", "")),
        "reason": str(stop.get("reason", "")),
        "cut_streams": "true" if stop.get("cut_streams") else "false",
    }
