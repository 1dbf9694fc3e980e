"""The control API over the local data, for commands where no server is asked: the same application on a socket of its own.

Whoever can open the data may do everything, and the audit log calls them `admin:command line`. A server that runs on the same
data sees every change within a second, as it sees another replica's.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxy.commands.api import Api
from proxy.commands.failures import AWAY, CommandFailed
from proxy.errors import ConfigError, WeighbridgeError

NAME = "command line"


def data_place(environ: Mapping[str, str]) -> tuple[str, bool]:
    """What the local data is called, and whether there is some."""
    url = environ.get("DATABASE_URL")
    if url:
        shown = url.rpartition("@")[2] if "@" in url else url
        return f"the database {shown}", True
    path = Path(environ.get("WEIGHBRIDGE_DATA_DIR") or "data").absolute() / "ledger.sqlite3"
    return str(path), path.exists()


class LocalApi(Api):
    """The API, served by a thread of this process for as long as it is open."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        """
        Raises:
            CommandFailed: the ledger cannot be opened.
        """
        self._folder = tempfile.mkdtemp(prefix="weighbridge-")
        path = os.path.join(self._folder, "api.sock")
        key = secrets.token_urlsafe(32)
        super().__init__(data_place(environ)[0], key, path)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="local-api", daemon=True)
        self._thread.start()
        self._house: Any = None
        try:
            self._house = asyncio.run_coroutine_threadsafe(_open(environ, key, path), self._loop).result()
        except (WeighbridgeError, OSError, ValueError) as failure:
            self.close()
            raise CommandFailed(f"The ledger cannot be opened: {failure}", AWAY) from None

    def close(self) -> None:
        """Stop serving and close the ledger. Idempotent."""
        super().close()
        if self._house is not None:
            asyncio.run_coroutine_threadsafe(_close(self._house), self._loop).result()
            self._house = None
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _config_directory() -> Path | None:
    default = Path("config")
    return default.absolute() if (default / "providers.yaml").is_file() or (default / "limits.yaml").is_file() else None


async def _open(environ: Mapping[str, str], key: str, path: str) -> tuple[Any, Any]:
    """Ledger and application; the imports cost half a second, and only here."""
    import time

    from aiohttp import web

    import proxy
    from proxy.assembly import open_ledger, places
    from proxy.config.build import build_rules
    from proxy.config.load import load
    from proxy.config.snapshot import SnapshotReader
    from proxy.control.app import build_app
    from proxy.control.context import Context
    from proxy.control.overlay import OverlayKeeper
    from proxy.control.workers import WorkersLink
    from proxy.routing.callers import key_digest
    from proxy.telemetry.metrics import Metrics

    where = places(environ)
    try:
        documents = SnapshotReader(where.snapshot).read()["documents"]
    except ConfigError:  # no server has run on this data: the files as they are
        documents = load(_config_directory(), environ).as_dict()
    if not environ.get("DATABASE_URL"):
        where.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    ledger = open_ledger(environ, where)
    await ledger.start()
    rules = build_rules({"documents": documents}, environ, price_list=where.price_list)
    context = Context(
        ledger,
        rules,
        WorkersLink(where.run),
        Metrics(proxy.__version__),
        time.time,
        proxy.__version__,
        admin_key_sha256=(key_digest(key),),
        admin_name=NAME,
    )

    async def publish(overlay: dict[str, object]) -> None:
        snapshot = {"documents": documents, "overlay": overlay}
        context.rules = build_rules(snapshot, environ, pricebook=rules.pricebook)

    context.refresh = OverlayKeeper(ledger, publish, time.time).refresh
    await context.refresh()
    runner = web.AppRunner(build_app(context, has_alerts=False), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    return runner, ledger


async def _close(house: tuple[Any, Any]) -> None:
    runner, ledger = house
    await runner.cleanup()
    await ledger.close()
