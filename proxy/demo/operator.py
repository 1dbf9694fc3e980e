"""The demo's operator: a handful of changes through the control API, as an admin would make them in a week.

So that keys, overrides, stops, alerts and the audit log have something to show. Whatever is refused is left out: the demo
goes on without it.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import aiohttp

from proxy.demo.call import Json

PATIENCE_SECONDS = 90.0
"""For the house to come up, and for a first alert."""


async def run_operator(base_url: str, admin_key: str, stop: asyncio.Event) -> None:
    """Make the changes, once, when the house is up."""
    timeout = aiohttp.ClientTimeout(total=30)
    headers = {"authorization": f"Bearer {admin_key}"}
    async with aiohttp.ClientSession(f"{base_url.rstrip('/')}/api/v1/", headers=headers, timeout=timeout) as api:
        if await _wait_for(api, "session", stop) is not None:
            await _make_changes(api)
            await _look_at_alerts(api, stop)


async def _make_changes(api: aiohttp.ClientSession) -> None:
    soon = datetime.now(UTC) + timedelta(days=30)
    old = await _ask(api, "POST", "keys", {"user": "grace", "team": "research", "name": "old-laptop"})
    if old:
        await _ask(api, "DELETE", f"keys/{old['key_id']}")
    contractor: Json = {
        "user": "margaret",
        "team": "product",
        "name": "contractor",
        "expires_at": soon.isoformat(timespec="seconds"),
        "models": ["gpt-4o-mini"],
        "limits": {"cost_usd": {"per_month": "25"}},
    }
    await _ask(api, "POST", "keys", contractor)
    stop_model: Json = {
        "scope": "model",
        "value": "gpt-4-32k*",
        "stopped": True,
        "reason": "a loop in staging",
        "cut_streams": False,
    }
    if await _ask(api, "POST", "switch", stop_model):
        await _ask(api, "POST", "switch", {"scope": "model", "value": "gpt-4-32k*", "stopped": False})
    week = (datetime.now(UTC) + timedelta(days=7)).isoformat(timespec="seconds")
    override: Json = {"tokens": {"per_day": 4_000_000}, "reason": "release week: twice the tickets", "until": week}
    await _ask(api, "PATCH", "users/katherine/limits", override)


async def _look_at_alerts(api: aiohttp.ClientSession, stop: asyncio.Event) -> None:
    """Acknowledge one of the first alerts that can wait, and try the channel."""
    found = await _wait_for(api, "alerts?state=open", stop, "alerts")
    mild = [alert for alert in (found or {}).get("alerts", []) if alert["severity"] != "critical"]
    if mild:
        await _ask(api, "POST", f"alerts/{quote(mild[0]['id'], safe='')}/acknowledge")
    await _ask(api, "POST", "alerts/test", {"destination": "ops-chat"})


async def _wait_for(api: aiohttp.ClientSession, path: str, stop: asyncio.Event, wanted: str | None = None) -> Json | None:
    """Ask until there is an answer (with something in `wanted`); None where patience or the demo ends."""
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not stop.is_set() and asyncio.get_running_loop().time() < deadline:
        answer = await _ask(api, "GET", path)
        if answer and (wanted is None or answer.get(wanted)):
            return answer
        await asyncio.sleep(1.0)
    return None


async def _ask(api: aiohttp.ClientSession, method: str, path: str, body: Json | None = None) -> Json | None:
    try:
        async with api.request(method, path, json=body) as answer:
            if answer.status >= 400:
                return None
            found = await answer.json() if answer.content_type == "application/json" else {}
            return found if isinstance(found, dict) else {}
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return None
