"""A pass-through as it is usually written in Python: aiohttp's server and client on uvloop. Not a product.

python aiohttp_relay.py PORT UPSTREAM_PORT
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web

DROPPED = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade", "trailer"}


async def run(port: int, upstream_port: int) -> None:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=300),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
    )
    upstream = f"http://127.0.0.1:{upstream_port}"

    async def forward(request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in DROPPED]
        async with session.request(request.method, upstream + request.path, headers=headers, data=body) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in DROPPED]
            if answer.content_length is not None and answer.content_length <= 65_536:
                return web.Response(status=answer.status, headers=kept, body=await answer.read())
            out = web.StreamResponse(status=answer.status, headers=kept)
            if answer.content_length is not None:
                out.content_length = answer.content_length
            await out.prepare(request)
            async for data in answer.content.iter_any():
                await out.write(data)
            await out.write_eof()
            return out

    runner = web.ServerRunner(web.Server(forward, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(run(int(sys.argv[1]), int(sys.argv[2])))
