"""THE WAY: what happens to one request, top to bottom.

    client ── bytes ──► identify ─► admit ──► forward ──► relay + meter ──► settle ──► record

`serve` is that line as code. The steps themselves live next door: identity.py, admission.py, upstream.py, answer.py,
weighing.py. Refusals are values and answered in the caller's dialect; failures are exceptions and end in `_fail`.
"""

from __future__ import annotations

import asyncio
import time

import structlog

from proxy.errors import ClientError, UpstreamBroken, UpstreamError, UpstreamTimeout
from proxy.relay.admission import admit
from proxy.relay.answer import Answer, CutShort, UsageRefused
from proxy.relay.forward import continue_if_expected, decoded, send
from proxy.relay.identity import UNKNOWN_KEY, Denied, for_end_user, identify
from proxy.relay.own_answers import JSON, nowhere, readiness, refusing, whole_answer
from proxy.relay.pool import Pool
from proxy.relay.refusals import Headers
from proxy.relay.request import Request
from proxy.relay.state import RelayState
from proxy.relay.tunnel import open_tunnel
from proxy.relay.upstream import UpstreamConnection
from proxy.relay.weighing import Weighing
from proxy.routing.provider import Provider
from proxy.usage.edits import with_output_cap, with_usage_asked
from proxy.usage.request_facts import RequestFacts, read_request
from proxy.usage.tokens import Reading

log = structlog.get_logger(__name__)
SPOOL_FULL = Denied(
    "store_away", "spool_full", "There is no room left for records of calls, and this proxy is set to refuse calls then."
)


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "_answer",
        "_body",
        "_has_tunnel",
        "_is_body_read",
        "_is_client_gone",
        "_plain_body",
        "_stopped_by",
        "client",
        "keep_alive",
        "request",
        "state",
        "weighing",
    )

    def __init__(self, request: Request, state: RelayState) -> None:
        self.request = request
        self.client = request.client
        self.state = state
        self.keep_alive = not request.head.wants_close and not request.head.upgrade
        self.weighing: Weighing | None = None
        self._answer: Answer | None = None
        self._body: bytes | None = None
        self._is_body_read = False
        """The body is whole and plain: what it asks for is known, and it can be edited."""
        self._plain_body: bytes | None = None
        """The body without our question for usage, should the provider refuse it."""
        self._has_tunnel = False
        self._is_client_gone = False
        self._stopped_by: Exception | None = None
        """Why nothing may be asked any more: the upload broke, the worker stops."""

    async def run(self) -> None:
        """Serve the request, whatever it is; never raises, always leaves the connection in a known state."""
        self.state.exchanges.add(self)
        try:
            kind = self.request.route.kind
            if kind == "provider":
                await self.serve()
            elif kind == "control" and self.state.control_pool is not None:
                await self._relay_to_control(self.state.control_pool)
            elif kind == "health":
                self._write(200, b'{"status":"ok"}', JSON)
            elif kind == "ready":
                self._write(*readiness(self.state))
            else:
                self._say_no(nowhere(self.request.route, self.state), "proxy_error")
        except UpstreamError as error:
            self._fail(_kind_of(error), "upstream_error", str(error))
        except ClientError as error:
            self._fail("too_large" if error.status == 413 else "bad_request", "client_aborted", error.message)
        except CutShort as cut:
            self._fail(cut.kind, "proxy_error", str(cut))
        except asyncio.CancelledError:
            self._fail("internal", "proxy_error", "the proxy stopped before the answer was complete")
        except Exception:
            # The last line of defence: a fault of ours ends this exchange, not the worker. It is logged whole.
            log.exception("exchange_failed", path=self.request.route.path.decode("latin-1"))
            self._fail("internal", "proxy_error", "an error inside the proxy; its log has the details")
        finally:
            self.state.exchanges.discard(self)
            if not self._has_tunnel:
                self.client.finish(self.keep_alive)

    async def serve(self) -> None:
        """identify → admit → forward → relay + meter → settle → record."""
        state, request, rules = self.state, self.request, self.state.rules
        provider = request.route.provider
        assert provider is not None

        readable = await self._first_part() if request.body_kind == "multipart" else self._held_body()
        began = time.perf_counter()
        facts = self._read_facts(readable)
        path = request.route.path.decode("latin-1")
        weighing = self.weighing = Weighing(state, rules, request.head, provider, path, facts, began)

        identity = identify(request.credentials, provider, rules, weighing.started_at)
        if isinstance(identity, Denied) and identity.code == UNKNOWN_KEY and await state.renew_rules(rules):  # just made?
            rules = weighing.rules = state.rules
            identity = identify(request.credentials, provider, rules, weighing.started_at)
        if isinstance(identity, Denied):
            weighing.caller = identity.caller or weighing.caller
            self._refuse(identity)
            return
        weighing.caller = for_end_user(identity.caller, request.head, facts, rules)
        if state.spool.is_refusing:
            self._refuse(SPOOL_FULL)
            return

        admitted = await admit(weighing, state.quota, state.estimator)
        if isinstance(admitted, Denied):
            self._refuse(admitted)
            return
        weighing.admitted = admitted
        weighing.admitted_at = time.perf_counter()
        if admitted.reservation is not None:
            state.live[weighing.request_id] = weighing

        is_injected = self._edit_body(facts, provider, admitted.injected_cap_tokens)
        await self._forward(provider, facts, identity.is_swapped, is_injected)

    # ── what the request says ──

    def _held_body(self) -> bytes | None:
        """The body to read facts from, where it was gathered; None for one that streams through."""
        request = self.request
        if request.body_kind != "json":
            return None
        body = self._body = request.body()
        encoding = request.head.content_encoding
        if not encoding or encoding == b"identity":
            self._is_body_read = True
            return body
        return decoded(body, encoding)

    async def _first_part(self) -> bytes | None:
        """As much of a form as its facts stand in."""
        continue_if_expected(self.request)
        peeked = await self.request.peek()
        return peeked if self.request.head.content_encoding in (b"", b"identity") else None

    def _read_facts(self, body: bytes | None) -> RequestFacts:
        head, where = self.request.head, self.request.route
        return read_request(head.method, where.path.decode("latin-1"), where.query.decode("latin-1"), head.content_type, body)

    def _edit_body(self, facts: RequestFacts, provider: Provider, cap_tokens: int | None) -> bool:
        """The only edits ever made: `output_cap: inject`, and asking for usage. Whether the latter was done."""
        body = self._body
        if not body or not self._is_body_read:
            return False
        self._plain_body = body
        if cap_tokens is not None:
            capped = with_output_cap(body, facts.api, cap_tokens)
            if capped is not None:
                body = self._body = self._plain_body = capped
        if facts.can_inject_usage and self.state.asks_for_usage(provider):
            asking = with_usage_asked(body, not facts.has_stream_options)
            if asking is not None:
                self._body = asking
                return True
        return False

    # ── forward and relay ──

    async def _forward(self, provider: Provider, facts: RequestFacts, is_swapped: bool, is_injected: bool) -> None:
        """Ask the provider and pass its answer on. Tried again only where nothing can have been done with the first try."""
        weighing, pool, request = self.weighing, self.state.pool(provider), self.request
        while True:
            connection = None if self._is_over else pool.take_idle() or await pool.take()
            if self._is_over:
                if connection is not None:
                    pool.give_back(connection)
                self._end_unasked()
                return
            assert connection is not None
            assert weighing is not None
            is_reused = connection.served > 0
            answer = self._answer = Answer(self.state, request, connection, weighing, is_injected, self.keep_alive)
            weighing.forwarded_at = time.perf_counter()
            send(request, self._body, connection, answer, pool, provider, is_swapped, facts.is_stream)
            try:
                await answer.done
            except UsageRefused:
                self.state.retreat_from_usage(provider)
                self._body, is_injected = self._plain_body, False
                continue
            except UpstreamBroken:
                if is_reused and not connection.has_answer_byte and request.body_kind == "json":
                    self.state.stats.upstream_retries += 1
                    continue  # a kept-alive connection that closed as we wrote: RFC 9112 §9.3.1
                raise
            break
        self.keep_alive = answer.out.keep_alive
        if answer.upgraded is not None:
            self._open_tunnel(connection, answer, weighing)

    @property
    def _is_over(self) -> bool:
        return self._is_client_gone or self._stopped_by is not None

    def _end_unasked(self) -> None:
        """The client left, or we were stopped, while nothing was being asked (any more)."""
        if self._stopped_by is not None:
            raise self._stopped_by
        if self.weighing is not None:
            self.weighing.close("client_aborted", 0, error="the client left before its answer began")

    def _open_tunnel(self, connection: UpstreamConnection, answer: Answer, weighing: Weighing) -> None:
        assert answer.upgraded is not None
        if self._is_client_gone:
            connection.cut()
            weighing.close("client_aborted", 0, error="the client left before its tunnel stood")
            return
        self._has_tunnel = True
        open_tunnel(self.state, self.client, connection, answer.upgraded, weighing)

    async def _relay_to_control(self, pool: Pool) -> None:
        """/api, /dashboard and /metrics: relayed like any call, unmetered."""
        self._body = self.request.body() if self.request.body_kind == "json" else None
        connection = pool.take_idle() or await pool.take()
        if self._is_over:
            pool.give_back(connection)
            self._end_unasked()
            return
        answer = self._answer = Answer(self.state, self.request, connection, None, False, self.keep_alive)
        peer = self.client.address.encode("latin-1", "replace")
        ours = b"x-weighbridge-peer: " + peer + b"\r\n" if peer else b""  # control/origin.py reads it
        send(self.request, self._body, connection, answer, pool, pool.provider, False, False, ours=ours)
        await answer.done
        self.keep_alive = answer.out.keep_alive

    # ── saying no ──

    def _refuse(self, denied: Denied) -> None:
        self._say_no(denied, "proxy_error" if denied.kind == "provider_unconfigured" else "denied")

    def _fail(self, kind: str, outcome: str, message: str) -> None:
        """Something broke. What the client already has decides how it is told: an error body, or a cut connection."""
        answer, reading = self._answer, None
        if answer is not None:
            if not answer.done.done():
                answer.cut(message)
                answer.done.exception()  # retrieved: nobody awaits it any more
            reading = answer.reading_so_far(is_unanswered_counted=outcome == "proxy_error")
        if answer is not None and answer.out.has_begun:
            self.keep_alive = False
            if self.weighing is not None:
                self.weighing.close(outcome, 0, reading, message)
            self.client.abort()
            return
        self._say_no(Denied(kind, kind, message), outcome, reading)

    def _say_no(self, denied: Denied, outcome: str, reading: Reading | None = None) -> None:
        weighing = self.weighing
        api, request_id = (weighing.facts.api, weighing.request_id) if weighing is not None else ("", "")
        status, body, headers = refusing(denied, self.request.route.provider, api, request_id)
        if weighing is not None:
            if self._is_client_gone:
                weighing.close("client_aborted", 0, reading, denied.message, denied)
            else:
                weighing.close(outcome, status, reading, denied.message, denied)
        self._write(status, body, headers)

    def _write(self, status: int, body: bytes, headers: Headers) -> None:
        if not self.request.is_complete:
            self.keep_alive = False
        has_body = self.request.head.method != "HEAD"
        self.client.write(whole_answer(status, body, headers, has_body=has_body, keep_alive=self.keep_alive))

    # ── from the client's connection and from the worker ──

    def client_lost(self) -> None:
        """The client's connection has ended."""
        self._is_client_gone = True
        if self._answer is not None:
            self._answer.client_lost(self.request.is_complete)

    def upload_broke(self, error: ClientError) -> None:
        """The rest of a body that streams through can't be understood: what was sent of it is worth nothing."""
        self.keep_alive = False
        self._stopped_by = error
        self.request.abandon(error)
        if self._answer is not None:
            self._answer.give_up(error)

    def client_paused(self, is_paused: bool) -> None:
        """The client's connection takes no more for now, or takes again."""
        if self._answer is not None:
            self._answer.client_paused(is_paused)

    def cut(self, reason: str, kind: str = "internal") -> None:
        """End this exchange now (the worker stops, an emergency stop). `kind`: of the refusal, where nothing was answered yet."""
        self._stopped_by = CutShort(reason, kind)
        if self._answer is not None:
            self._answer.cut(reason, kind)

    @property
    def has_begun_answer(self) -> bool:
        """Bytes of an answer have gone to the client."""
        return self._answer is not None and self._answer.out.has_begun

    @property
    def is_endless(self) -> bool:
        """It only watches (the dashboard's live feed): nothing is lost by ending it."""
        return self.request.route.kind == "control" and self.has_begun_answer


def _kind_of(error: UpstreamError) -> str:
    if isinstance(error, UpstreamTimeout):
        return "upstream_timeout"
    return "upstream_broken" if isinstance(error, UpstreamBroken) else "upstream_unreachable"
