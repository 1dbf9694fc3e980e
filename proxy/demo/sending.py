"""Bytes out, at the pace and with the faults that the knobs ask for.

Rules of this file: whatever happens to the connection is written into the book's entry; a peer that hangs up is noticed
between two chunks and within 50 ms of any pause.
"""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Iterable
from hashlib import sha256

from aiohttp import web

from proxy.demo.call import Call, Dialect, Frame, Json

PAUSE_SECONDS = 0.05


class _PeerLeft(Exception):
    """The other side closed the connection."""


async def send_error(request: web.Request, call: Call, dialect: Dialect, status: int, message: str) -> web.StreamResponse:
    """An error of this dialect, whole."""
    headers = _headers(call, dialect)
    if call.knobs.retry_after is not None:
        headers["retry-after"] = call.knobs.retry_after
    call.entry.status, call.entry.ended = status, "failed"
    call.entry.output_tokens = call.entry.reasoning_tokens = call.entry.input_tokens = 0
    call.entry.cache_read_tokens = call.entry.cache_write_tokens = 0
    return web.json_response(dialect.error_body(status, message, call.entry.request_id), status=status, headers=headers)


async def send_whole(request: web.Request, call: Call, dialect: Dialect, payload: Json | bytes) -> web.StreamResponse:
    """An answer in one piece; half of it and then nothing where the knobs say cut."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    headers = _headers(call, dialect) | {"content-type": dialect.whole_type}
    if _packs(request, call):
        headers["content-encoding"] = "gzip"
        packer = _gzip()
        body = packer.compress(body) + packer.flush()
    headers["content-length"] = str(len(body))
    response = web.StreamResponse(headers=headers)
    entry = call.entry
    entry.status = 200
    try:
        await _pause(request, call.knobs.first_byte)
        await response.prepare(request)
        if call.knobs.cut is not None:
            await response.write(body[: len(body) // 2])
            _cut(request, call)
            return response
        await response.write(body)
        await response.write_eof()
        entry.sent_sha256 = sha256(body).hexdigest()
    except (ConnectionResetError, _PeerLeft):
        entry.ended = "left"
        return response
    entry.ended, entry.sent_output_tokens, entry.is_usage_sent = "whole", entry.output_tokens, call.knobs.usage
    return response


async def send_stream(request: web.Request, call: Call, dialect: Dialect, frames: Iterable[Frame]) -> web.StreamResponse:
    """An answer event by event."""
    knobs, entry = call.knobs, call.entry
    headers = _headers(call, dialect) | {"content-type": dialect.stream_type, "cache-control": "no-cache"}
    wire = _Wire(_gzip() if _packs(request, call) else None, knobs.split)
    if wire.packer:
        headers["content-encoding"] = "gzip"
    response = web.StreamResponse(headers=headers)
    entry.status = 200
    try:
        await _pause(request, knobs.first_byte)
        await response.prepare(request)
        for number, frame in enumerate(frames):
            if number == knobs.stall:
                await _pause(request, knobs.stall_seconds)
            if number == knobs.cut:
                _cut(request, call)
                return response
            if number == knobs.error:
                await wire.write(response, dialect.error_frame("The server had an error while answering."))
                await wire.end(response)
                entry.sent_sha256 = wire.sent.hexdigest()
                entry.ended = "failed"
                return response
            await wire.write(response, frame.data)
            entry.sent_output_tokens += frame.tokens
            entry.is_usage_sent = entry.is_usage_sent or frame.has_usage
            await _pause(request, knobs.delay)
        await wire.end(response)
    except (ConnectionResetError, _PeerLeft):
        entry.ended = "left"
        return response
    entry.ended, entry.sent_output_tokens, entry.sent_sha256 = "whole", entry.output_tokens, wire.sent.hexdigest()
    return response


def _headers(call: Call, dialect: Dialect) -> dict[str, str]:
    """What every answer carries; a client can tell the pass-through by it."""
    headers = {dialect.request_id_header: call.entry.request_id, "x-demo-provider": "1"}
    if dialect.api.startswith("openai."):
        headers |= {"openai-processing-ms": "12", "x-ratelimit-limit-requests": "10000", "x-ratelimit-remaining-requests": "9999"}
    if dialect.api.startswith("anthropic."):
        headers |= {"anthropic-ratelimit-requests-limit": "4000", "anthropic-ratelimit-requests-remaining": "3999"}
    return headers


def _packs(request: web.Request, call: Call) -> bool:
    return call.knobs.gzip and "gzip" in request.headers.get("accept-encoding", "")


def _gzip() -> zlib._Compress:
    return zlib.compressobj(wbits=31)


class _Wire:
    """The body of one stream on its way out: packed, cut into pieces, hashed."""

    def __init__(self, packer: zlib._Compress | None, split: int) -> None:
        self.packer = packer
        self.sent = sha256()
        self._split = split

    async def write(self, response: web.StreamResponse, data: bytes) -> None:
        await self._out(response, self.packer.compress(data) + self.packer.flush(zlib.Z_SYNC_FLUSH) if self.packer else data)

    async def end(self, response: web.StreamResponse) -> None:
        if self.packer:
            await self._out(response, self.packer.flush())
        await response.write_eof()

    async def _out(self, response: web.StreamResponse, data: bytes) -> None:
        self.sent.update(data)
        if not self._split:
            await response.write(data)
            return
        for at in range(0, len(data), self._split):
            await response.write(data[at : at + self._split])
            await asyncio.sleep(0)


async def _pause(request: web.Request, seconds: float) -> None:
    """Wait, and notice a peer that leaves meanwhile."""
    until = asyncio.get_running_loop().time() + seconds
    while True:
        if request.transport is None or request.transport.is_closing():
            raise _PeerLeft
        left = until - asyncio.get_running_loop().time()
        if left <= 0:
            return
        await asyncio.sleep(min(left, PAUSE_SECONDS))


def _cut(request: web.Request, call: Call) -> None:
    """Close the connection without the end that HTTP asks for."""
    call.entry.ended = "cut"
    if request.transport is not None:
        request.transport.close()
