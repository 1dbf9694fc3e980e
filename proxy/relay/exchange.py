"""THE WAY: what happens to one request, top to bottom.

    client ── bytes ──► identify ─► admit ──► forward ──► relay + meter ──► settle ──► record

`serve` is that line as code. The steps themselves live next door: identity.py, admission.py, upstream.py, answer.py,
weighing.py. Refusals are values and answered in the caller's dialect; failures are exceptions and end in `_fail`.
"""

from __future__ import annotations

import asyncio
import time

import orjson
import structlog

from proxy.errors import ClientError, UpstreamBroken, UpstreamError
from proxy.relay.admission import admit
from proxy.relay.answer import Answer, UsageRefused
from proxy.relay.downstream import Request
from proxy.relay.identity import Denied, for_end_user, identify
from proxy.relay.refusals import refusal
from proxy.relay.state import RelayState
from proxy.relay.tunnel import open_tunnel
from proxy.relay.upstream import Pool, UpstreamConnection
from proxy.relay.weighing import Weighing
from proxy.routing.headers import request_lines, with_credentials
from proxy.routing.provider import Provider
from proxy.rules import Rules
from proxy.usage.edits import with_output_cap, with_usage_asked
from proxy.usage.request_facts import RequestFacts, read_request

log = structlog.get_logger(__name__)


class Exchange:
    """One request and its answer."""

    def __init__(self, request: Request, state: RelayState) -> None:
        self.request = request
        self.client = request.client
        self.state = state
        self.keep_alive = not request.head.wants_close
        self.early_client_bytes = b""
        """What the client sent behind a request to upgrade, before the tunnel stood."""
        self.has_tunnel = False
        self._answer: Answer | None = None
        self._weighing: Weighing | None = None
        self._body: bytes | None = None
        self._plain_body: bytes | None = None
        """The body without our question for usage, should the provider refuse it."""
        self._has_streamed = False
        self._is_client_gone = False
        self._upload_error: ClientError | None = None

    async def run(self) -> None:
        """Serve the request, whatever it is; never raises, always leaves the connection in a known state."""
        self.state.exchanges.add(self)
        try:
            kind = self.request.route.kind
            if kind == "provider":
                await self.serve()
            elif kind == "control" and self.state.control_pool is not None:
                await self._relay_to_control(self.state.control_pool)
            else:
                self._answer_locally(kind)
        except UpstreamError as error:
            self._fail("upstream_timeout" if error.status == 504 else "upstream_unreachable", "upstream_error", str(error))
        except ClientError as error:
            self._fail("bad_request", "client_aborted", error.message)
        except asyncio.CancelledError:
            self._fail("internal", "proxy_error", "the proxy stopped before the answer was complete")
        except Exception:
            # The last line of defence: a fault of ours ends this exchange, not the worker. It is logged whole.
            log.exception("exchange_failed", path=self.request.route.path.decode("latin-1"))
            self._fail("internal", "proxy_error", "an error inside the proxy; its log has the details")
        finally:
            self.state.exchanges.discard(self)
            if not self.has_tunnel:
                self.client.finish(self.keep_alive)

    async def serve(self) -> None:
        """identify → admit → forward → relay + meter → settle → record."""
        state, request, rules = self.state, self.request, self.state.rules
        provider = request.route.provider
        assert provider is not None

        facts = await self._read_facts()
        weighing = self._weighing = Weighing(
            state, rules, state.new_id(), request.head, provider, request.route.path.decode("latin-1"), facts
        )

        identity = identify(request.head, provider, rules, weighing.started_at)
        if isinstance(identity, Denied):
            self._refuse(identity)
            return
        if state.spool.is_refusing:
            self._refuse(
                Denied(
                    "store_away",
                    "spool_full",
                    "There is no room left for records of calls, and this proxy is set to refuse calls then.",
                )
            )
            return
        weighing.caller = for_end_user(identity.caller, request.head, facts, rules)

        admitted = await admit(weighing, self._body, state.quota, state.estimator)
        if isinstance(admitted, Denied):
            self._refuse(admitted)
            return
        weighing.admitted = admitted
        weighing.admitted_at = time.perf_counter()
        if admitted.reservation is not None:
            state.live[weighing.request_id] = weighing
        if self._is_client_gone:
            weighing.close("client_aborted", 0, error="the client left before its request was forwarded")
            return

        is_injected = self._edit_body(facts, provider, admitted.injected_cap_tokens)
        await self._forward(provider, rules, facts, identity.is_swapped, is_injected)

    # ── what the request says ──

    async def _read_facts(self) -> RequestFacts:
        request = self.request
        head, where = request.head, request.route
        body: bytes | None = None
        if request.body_kind == "json":
            body = self._body = request.body()
        elif request.body_kind == "multipart":
            self._continue_if_expected()
            body = await request.peek()
        readable = body if not head.content_encoding or head.content_encoding == b"identity" else None
        return read_request(head.method, where.path.decode("latin-1"), where.query.decode("latin-1"), head.content_type, readable)

    def _edit_body(self, facts: RequestFacts, provider: Provider, cap_tokens: int | None) -> bool:
        """The only edits ever made: `output_cap: inject`, and asking for usage. Whether the latter was done."""
        body = self._body
        if not body:
            return False
        self._plain_body = body
        if cap_tokens is not None:
            capped = with_output_cap(body, facts.api, cap_tokens)
            if capped is not None:
                body = self._body = self._plain_body = capped
        if facts.can_inject_usage and self.state.asks_for_usage(provider):
            asking = with_usage_asked(body)
            if asking is not None:
                self._body = asking
                return True
        return False

    # ── forward and relay ──

    async def _forward(self, provider: Provider, rules: Rules, facts: RequestFacts, is_swapped: bool, is_injected: bool) -> None:
        """Ask the provider and pass its answer on. Tried again only where nothing can have been done with the first try."""
        weighing, pool = self._weighing, self.state.pool(provider)
        assert weighing is not None
        is_upgrade = self.request.head.upgrade == b"websocket"
        while True:
            connection = pool.take_idle() or await pool.take()
            if self._is_client_gone and self._answer is None:
                pool.give_back(connection)
                weighing.close("client_aborted", 0, error="the client left before its request was forwarded")
                return
            if self._upload_error is not None:
                pool.give_back(connection)
                raise self._upload_error
            is_reused = connection.served > 0
            answer = self._answer = Answer(self.state, self.request, connection, weighing, is_injected, self.keep_alive)
            weighing.forwarded_at = time.perf_counter()
            self._send(connection, answer, pool, provider, facts, is_swapped, is_upgrade)
            try:
                await answer.done
            except UsageRefused:
                self.state.retreat_from_usage(provider)
                self._body, is_injected = self._plain_body, False
                continue
            except UpstreamBroken:
                if is_reused and not connection.has_answer_byte and self._can_send_again() and not self._is_client_gone:
                    self.state.stats.upstream_retries += 1
                    continue  # a kept-alive connection that closed as we wrote: RFC 9112 §9.3.1
                raise
            break
        self.keep_alive = answer.keep_alive
        if answer.upgraded is not None:
            self.has_tunnel = True
            open_tunnel(self.state, self.client, connection, answer.upgraded, weighing, self.early_client_bytes)

    def _send(
        self,
        connection: UpstreamConnection,
        answer: Answer,
        pool: Pool,
        provider: Provider,
        facts: RequestFacts,
        is_swapped: bool,
        is_upgrade: bool,
    ) -> None:
        request = self.request
        head, where = request.head, request.route
        target = provider.base_path + where.path + (b"?" + where.query if where.query else b"")
        credentials, target = with_credentials(head, target, provider, is_swapped)
        if provider.proxy_url and provider.scheme == "http":
            target = b"http://" + pool.host_header + target  # absolute-form, RFC 9112 §3.2.2
        if is_upgrade:
            credentials += b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
        body: bytes | None = self._body if request.body_kind == "json" else None
        framing = b""
        if request.body_kind == "json":
            if body or head.content_length is not None:
                framing = b"Content-Length: %d\r\n" % len(body or b"")
            body = body or b""
        elif head.content_length is not None:
            framing = b"Content-Length: %d\r\n" % head.content_length
        else:
            framing = b"Transfer-Encoding: chunked\r\n"
        lines = request_lines(head, target, pool.host_header, credentials, framing, provider, facts.is_stream)
        connection.send(answer, lines, body, head.method == "HEAD")
        if body is None:
            self._continue_if_expected()
            self._stream_body(connection)

    def _stream_body(self, connection: UpstreamConnection) -> None:
        """Pieces of an upload go on as they arrive."""
        is_chunked = self.request.head.content_length is None

        def forward(piece: bytes, is_last: bool) -> None:
            if piece:
                connection.send_body(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
            if is_last:
                if is_chunked:
                    connection.send_body(b"0\r\n\r\n")
                connection.end_body()

        self._has_streamed = True
        self.request.stream_to(forward)

    async def _relay_to_control(self, pool: Pool) -> None:
        """/api, /dashboard and /metrics: relayed like any call, unmetered."""
        self._body = self.request.body() if self.request.body_kind == "json" else None
        connection = pool.take_idle() or await pool.take()
        answer = self._answer = Answer(self.state, self.request, connection, None, False, self.keep_alive)
        facts = read_request(self.request.head.method, "/", "", "", None)
        self._send(connection, answer, pool, pool.provider, facts, False, False)
        await answer.done
        self.keep_alive = answer.keep_alive

    def _continue_if_expected(self) -> None:
        head = self.request.head
        if head.expects_continue and not self.request.is_complete:
            head.expects_continue = False
            self.client.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _can_send_again(self) -> bool:
        return self.request.body_kind == "json" and not self._has_streamed

    # ── saying no ──

    def _refuse(self, denied: Denied) -> None:
        weighing = self._weighing
        assert weighing is not None
        self._say_no(
            denied.kind, denied.code, denied.message, denied, "proxy_error" if denied.kind == "provider_unconfigured" else "denied"
        )

    def _fail(self, kind: str, outcome: str, message: str) -> None:
        """Something broke. What the client already has decides how it is told: an error body, or a cut connection."""
        answer = self._answer
        if answer is not None and not answer.done.done():
            answer.cut(message)
            self.keep_alive = False
            return
        if answer is not None and answer.has_begun:
            self.keep_alive = False
            if self._weighing is not None:
                self._weighing.close(outcome, 0, error=message)
            self.client.abort()
            return
        self._say_no(kind, kind, message, None, outcome)

    def _say_no(self, kind: str, code: str, message: str, denied: Denied | None, outcome: str) -> None:
        request, weighing = self.request, self._weighing
        provider = request.route.provider
        answer = refusal(
            provider.api if provider else "openai",
            weighing.facts.api if weighing else "",
            kind,
            message,
            code,
            retry_after_seconds=denied.retry_after_seconds if denied else None,
            limit=denied.limit if denied else None,
            window=denied.window if denied else None,
            request_id=weighing.request_id if weighing else "",
        )
        status = answer.status
        extra = ((b"Content-Type", answer.content_type), *answer.headers)
        if self._is_client_gone:
            outcome, status = "client_aborted", 0
        if weighing is not None:
            weighing.close(outcome, status, error=message, denied=denied)
            extra += ((b"x-weighbridge-request-id", weighing.request_id.encode()),)
        self._write_whole(answer.status, answer.body, extra)

    def _answer_locally(self, kind: str) -> None:
        if kind == "health":
            self._write_whole(200, b'{"status":"ok"}', _JSON)
        elif kind == "ready":
            is_ready = self.state.is_ready and not self.state.is_stopping
            body = orjson.dumps(
                {
                    "status": "ready" if is_ready else "not ready",
                    "rules_version": self.state.rules.version,
                    "stopping": self.state.is_stopping,
                }
            )
            self._write_whole(200 if is_ready else 503, body, _JSON)
        elif kind == "control":
            self._say_no(
                "not_found",
                "not_found",
                "The control API, the dashboard and the metrics are on another port here (--control-port).",
                None,
                "proxy_error",
            )
        else:
            rules = self.state.rules
            name = self.request.route.path.split(b"/")[1].decode("latin-1")
            names = ", ".join(sorted(rules.providers))
            if name in rules.disabled:
                message = f"The provider '{name}' is switched off here: {rules.disabled[name]}."
            else:
                message = f"No such path. Calls go to /<provider>/… ({names}) or /v1/…; the control API is /api/v1/…, the dashboard /dashboard."
            self._say_no("not_found", "not_found", message, None, "proxy_error")

    def _write_whole(self, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
        if not self.request.is_complete:
            self.keep_alive = False
        parts = [b"HTTP/1.1 %d %b\r\nContent-Length: %d\r\n" % (status, _REASONS.get(status, b"Error"), len(body))]
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if self.keep_alive else b"Connection: close\r\n\r\n")
        if self.request.head.method != "HEAD":
            parts.append(body)
        self.client.write(b"".join(parts))

    # ── from the client's connection ──

    def client_lost(self) -> None:
        self._is_client_gone = True
        if self._answer is not None:
            self._answer.client_lost(self.request.is_complete)

    def upload_broke(self, error: ClientError) -> None:
        """The rest of a body that streams through can't be understood: what was sent of it is worth nothing."""
        self.keep_alive = False
        self._upload_error = error
        if self._answer is not None:
            self._answer.give_up(error)

    def client_paused(self, is_paused: bool) -> None:
        if self._answer is not None:
            self._answer.client_paused(is_paused)

    def cut(self, reason: str) -> None:
        """End this exchange now (the worker stops, an emergency stop)."""
        if self._answer is not None:
            self._answer.cut(reason)

    @property
    def has_begun_answer(self) -> bool:
        return self._answer is not None and self._answer.has_begun

    @property
    def weighing(self) -> Weighing | None:
        return self._weighing


_JSON = ((b"Content-Type", b"application/json"),)
_REASONS = {
    200: b"OK",
    400: b"Bad Request",
    401: b"Unauthorized",
    402: b"Payment Required",
    403: b"Forbidden",
    404: b"Not Found",
    405: b"Method Not Allowed",
    408: b"Request Timeout",
    413: b"Content Too Large",
    429: b"Too Many Requests",
    431: b"Request Header Fields Too Large",
    500: b"Internal Server Error",
    502: b"Bad Gateway",
    503: b"Service Unavailable",
    504: b"Gateway Timeout",
    529: b"Overloaded",
}
