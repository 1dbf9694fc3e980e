"""Once a minute the ledger sums up the hours and days that are over, so that long periods are answered at once.

Any number of replicas may do so at a time: the ledger sees to it that each hour is summed up once.
"""

from __future__ import annotations

import asyncio

import structlog

from proxy.errors import LedgerError
from proxy.ledger.ledger import Ledger

LOOK_SECONDS = 60.0
BREATH_SECONDS = 0.02
"""Between two pieces: a ledger of a year that is summed up for the first time must not keep the house from its other work."""

_log = structlog.get_logger("control.digesting")


async def keep_digested(ledger: Ledger) -> None:
    """Look until cancelled; a ledger that is away is waited for."""
    is_away = False
    while True:
        try:
            is_done = not await ledger.digest()
            is_away = False
        except LedgerError as failure:
            if not is_away:
                _log.warning("sums of past hours wait for the ledger", reason=str(failure))
            is_done = is_away = True
        await asyncio.sleep(LOOK_SECONDS if is_done else BREATH_SECONDS)
