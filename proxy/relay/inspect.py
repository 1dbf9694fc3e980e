"""What a worker tells the control plane: one JSON object per line on a unix socket, one line back.

    {"call": "stats"}                        gauges and counters
    {"call": "quota", "limits": [...]}       used and reserved of these limits, in the order asked
    {"call": "add", "counts": [...]}         usage that did not pass the proxy, into the counters

Anything wrong is answered with {"error": "..."}; the connection stays.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import orjson

from proxy.limits.limit import Limit
from proxy.quota.store import SeedCount
from proxy.relay.state import RelayState

MAX_LINE_BYTES = 8 * 1024 * 1024


class Inspector:
    """The worker's side of that socket."""

    def __init__(self, state: RelayState, number: int, path: Path, quota_kind: str, restarts: int = 0) -> None:
        self._state = state
        self._number = number
        self._path = path
        self._quota_kind = quota_kind
        self._restarts = restarts
        self._started_at = time.time()
        self._server: asyncio.Server | None = None
        self._inode = 0

    async def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=MAX_LINE_BYTES)
        self._path.chmod(0o600)
        self._inode = self._path.stat().st_ino

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        try:
            if self._path.stat().st_ino == self._inode:  # after a roll it is the successor's
                self._path.unlink()
        except FileNotFoundError:
            pass  # gone already, which is what is wanted

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(orjson.dumps(await self._answer(line)) + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, asyncio.CancelledError):
            return  # the control plane went away, or sent a line without end; it connects again
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> object:
        try:
            asked = orjson.loads(line)
            call = asked["call"]
            if call == "stats":
                return self.stats()
            if call == "quota":
                return await self._quota([_limit(one) for one in asked["limits"]])
            if call == "add":
                await self._state.quota.add(
                    [SeedCount(c["counter"], c["window"], c["window_id"], int(c["amount"])) for c in asked["counts"]]
                )
                return {"ok": True}
            return {"error": f"unknown call: {call}"}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    async def _quota(self, limits: list[Limit]) -> list[dict[str, object]]:
        now = time.time()
        statuses = await self._state.quota.status(limits, now)
        return [{"used": s.used, "reserved": s.reserved, "window_id": s.window_id, "resets_at": s.resets_at} for s in statuses]

    def stats(self) -> dict[str, object]:
        """Gauges and counters, as control/workers.py reads them."""
        state = self._state
        stats = state.stats
        spool = state.spool.stats()
        figures = asdict(state.quota.figures) if hasattr(state.quota, "figures") else {}
        return {
            "worker": self._number,
            "pid": os.getpid(),
            "started_at": self._started_at,
            "restarts": self._restarts,
            "rules_version": state.rules.version,
            "in_flight": len(state.exchanges),
            "open_connections": len(state.clients),
            "draining": stats.drains,
            "upstreams": {
                pool.provider.name: {"open": pool.open_count, "idle": pool.idle_count, "waiting": pool.waiting_count}
                for pool in state.pools
            },
            "spool": {"lost": spool.lost + stats.records_lost, "bytes": spool.bytes},
            "quota": {
                "kind": self._quota_kind,
                "shared": self._quota_kind == "redis",
                "state": getattr(state.quota, "state", "normal"),
                "holds": len(state.live),
                **({"errors": figures["failures"]} if "failures" in figures else {}),
                "decisions": {policy: figures[f"{policy}_decisions"] for policy in ("local", "open", "closed") if figures},
            },
            "counters": {
                "drains_cut": stats.drains_cut,
                "refused_heads": stats.refused_heads,
                "slow_clients": stats.slow_clients,
                "upstream_retries": stats.upstream_retries,
                "usage_retreats": stats.usage_retreats,
                "rules_reloads": stats.rules_reloads,
                **{f"quota_{name}": value for name, value in figures.items() if isinstance(value, int)},
            },
            "gauges": {"loop_lag_seconds": stats.loop_lag_seconds, "tunnels": len(state.tunnels)},
        }


def _limit(fields: Mapping[str, object]) -> Limit:
    window = fields.get("window")
    return Limit(
        str(fields["name"]),
        str(fields["counter"]),
        str(fields["resource"]),
        None if window is None else str(window),
        int(str(fields["amount"])),
        str(fields.get("mode", "balanced")),
    )
