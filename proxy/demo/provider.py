"""The fake provider: every API the demo and the tests speak to, on one port; the book at `/demo/book`.

Paths are those of the real providers, so one `base_url` serves all of them. Knobs come in `x-demo` (knobs.py).
Not here: shapes (dialects/), pace and faults (sending.py).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from email import message_from_bytes
from hashlib import sha256
from random import Random
from time import time
from typing import Any

from aiohttp import web

from proxy.demo.book import Book, Entry
from proxy.demo.call import Call, Dialect, Json, make_call
from proxy.demo.dialects import anthropic_messages, cohere, gemini, ollama, openai_chat, openai_media, openai_responses
from proxy.demo.knobs import HEADER, read_knobs
from proxy.demo.sending import send_error, send_stream, send_whole

BODY_BYTES = 64 * 1024 * 1024
CREDENTIAL_HEADERS = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
BOOK: web.AppKey[Book] = web.AppKey("book", Book)

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(seed: int = 1) -> web.Application:
    """The provider as an application; `seed` decides what it says."""
    app = web.Application(client_max_size=BODY_BYTES)
    app[BOOK] = Book()
    ids = Random(f"ids:{seed}:{time()}")  # noqa: S311 - names, not secrets
    post: dict[str, Dialect] = {
        "/v1/chat/completions": openai_chat.CHAT,
        "/openai/v1/chat/completions": openai_chat.CHAT,
        "/v1/completions": openai_chat.COMPLETIONS,
        "/v1/responses": openai_responses.RESPONSES,
        "/v1/embeddings": openai_media.EMBEDDINGS,
        "/v1/images/generations": openai_media.IMAGES,
        "/v1/audio/speech": openai_media.SPEECH,
        "/v1/audio/transcriptions": openai_media.TRANSCRIPTION,
        "/v1/moderations": openai_media.MODERATIONS,
        "/v1/messages": anthropic_messages.MESSAGES,
        "/v1/messages/count_tokens": anthropic_messages.COUNT_TOKENS,
        "/v2/chat": cohere.CHAT,
        "/v2/embed": cohere.EMBED,
        "/v2/rerank": cohere.RERANK,
        "/api/chat": ollama.CHAT,
        "/api/generate": ollama.GENERATE,
        "/api/embed": ollama.EMBED,
    }
    for path, dialect in post.items():
        app.router.add_post(path, _answering(dialect, seed, ids))
    app.router.add_post("/{version:v1|v1beta}/models/{model}:{method}", _gemini(seed, ids))
    app.router.add_get("/v1/models", _models)
    app.router.add_get("/v1beta/models", _gemini_models)
    app.router.add_get("/api/tags", _tags)
    app.router.add_post("/demo/alerts", _take_alerts)
    app.router.add_get("/demo/book", _read_book)
    app.router.add_delete("/demo/book", _clear_book)
    return app


async def _take_alerts(request: web.Request) -> web.Response:
    """Where the demo's alerts are sent, in place of somebody's chat."""
    await request.read()
    return web.Response(status=204)


def _answering(dialect: Dialect, seed: int, ids: Random) -> Answering:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await _answer(request, dialect, seed, ids)

    return answer


def _gemini(seed: int, ids: Random) -> Answering:
    async def answer(request: web.Request) -> web.StreamResponse:
        dialect = gemini.METHODS.get(request.match_info["method"])
        if dialect is None:
            return web.json_response(gemini.error_body(404, "no such method", ""), status=404)
        if dialect is gemini.STREAM and request.query.get("alt") != "sse":
            dialect = gemini.STREAM_ARRAY
        return await _answer(request, dialect, seed, ids)

    return answer


async def _answer(request: web.Request, dialect: Dialect, seed: int, ids: Random) -> web.StreamResponse:
    """Read, enter into the book, answer as the knobs say."""
    raw = await request.read()
    try:
        knobs = read_knobs(request.headers.get(HEADER))
        body = _body(request, raw)
    except ValueError as error:
        return web.json_response(dialect.error_body(400, str(error), ""), status=400)
    entry = _entry(request, dialect, raw, f"req_{ids.getrandbits(96):024x}")
    entry.call = knobs.call
    tries_before = request.app[BOOK].open(entry)
    call = make_call(entry, knobs, body, raw, seed, dialect, request.match_info, request.query)
    if knobs.status != 200 and (knobs.times is None or tries_before < knobs.times):
        return await send_error(request, call, dialect, knobs.status, f"The fake provider was asked to answer {knobs.status}.")
    return await _send(request, call, dialect)


async def _send(request: web.Request, call: Call, dialect: Dialect) -> web.StreamResponse:
    if call.is_stream and dialect.frames is not None:
        return await send_stream(request, call, dialect, dialect.frames(call))
    return await send_whole(request, call, dialect, dialect.whole(call))


def _entry(request: web.Request, dialect: Dialect, raw: bytes, request_id: str) -> Entry:
    found = next((request.headers[name] for name in CREDENTIAL_HEADERS if name in request.headers), request.query.get("key", ""))
    key = found.removeprefix("Bearer ")
    return Entry(
        request_id=request_id,
        call="",
        api=dialect.api,
        method=request.method,
        path=request.path,
        body_bytes=len(raw),
        body_sha256=sha256(raw).hexdigest(),
        credential_sha256=sha256(key.encode()).hexdigest() if key else "",
        header_names=sorted({name.lower() for name in request.headers}),
    )


def _form_fields(content_type: str, raw: bytes) -> Json:
    """Text fields of a multipart form; files are left out."""
    form = message_from_bytes(b"content-type: " + content_type.encode() + b"\r\n\r\n" + raw)
    fields: Json = {}
    for part in form.walk():
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str) and part.get_filename() is None:
            content = part.get_payload(decode=True)
            fields[name] = content.decode() if isinstance(content, bytes) else ""
    return fields


def _body(request: web.Request, raw: bytes) -> Json:
    """The request's members: of a JSON object, or of a form (files left out).

    Raises:
        ValueError: not JSON, or not an object.
    """
    if request.content_type == "multipart/form-data":
        return _form_fields(request.headers["content-type"], raw)
    found: Any = json.loads(raw or b"{}")
    if not isinstance(found, dict):
        raise ValueError("the body is not a JSON object")
    return found


async def _models(request: web.Request) -> web.Response:
    if "anthropic-version" in request.headers:
        return web.json_response(anthropic_messages.model_list())
    if "x-goog-api-key" in request.headers:
        return web.json_response(gemini.model_list())
    return web.json_response(openai_media.model_list(int(time())))


async def _gemini_models(request: web.Request) -> web.Response:
    return web.json_response(gemini.model_list())


async def _tags(request: web.Request) -> web.Response:
    return web.json_response(ollama.TAGS)


async def _read_book(request: web.Request) -> web.Response:
    query: Mapping[str, str] = request.query
    return web.json_response({"entries": request.app[BOOK].entries(query.get("call"), query.get("request_id"))})


async def _clear_book(request: web.Request) -> web.Response:
    request.app[BOOK].clear()
    return web.Response(status=204)


async def run_provider(host: str, port: int, seed: int = 1) -> web.AppRunner:
    """Start listening; the caller owns the runner and cleans it up. Port 0 takes a free one: `runner.addresses[0][1]`.

    Raises:
        OSError: the address is taken.
    """
    runner = web.AppRunner(make_app(seed), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner


async def serve_provider(host: str, port: int, seed: int = 1) -> None:
    """`run_provider` until cancelled."""
    runner = await run_provider(host, port, seed)
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
