"""HTTP to the control API: one connection, plain sockets, and every failure in words that say what to do.

The standard library's client and not aiohttp: it is there in 15 ms, and a command asks a handful of questions.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

from proxy.commands.failures import AWAY, REFUSED, USAGE, CommandFailed

URL_VARIABLE = "WEIGHBRIDGE_URL"
KEY_VARIABLE = "WEIGHBRIDGE_ADMIN_KEY"
DEFAULT_URL = "http://127.0.0.1:8080"
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 900.0
"""Simulations and reconciliations go through every record of a month."""
PREFIX = "/api/v1"
CHUNK_BYTES = 64 * 1024

Query = Mapping[str, object]


class _UnixConnection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ANSWER_SECONDS)
        self.sock.connect(self._path)


class Api:
    """The control API at one place."""

    def __init__(self, url: str, key: str | None, socket_path: str | None = None) -> None:
        """
        Args:
            url: where the server is, e.g. http://127.0.0.1:8080; what failures name.
            socket_path: a unix socket to ask instead.
        """
        self.url = url.rstrip("/")
        self._key = key
        self._socket_path = socket_path
        self._connection: HTTPConnection | None = None

    def get(self, path: str, query: Query | None = None) -> Any:
        """The JSON of a GET."""
        return self.ask("GET", path, query)

    def ask(self, method: str, path: str, query: Query | None = None, body: object = None) -> Any:
        """The JSON of any call.

        Raises:
            CommandFailed: it is refused, or nobody answers.
        """
        answer = self._send(method, path, query, body)
        try:
            text = answer.read()
            return json.loads(text) if text.strip() else None
        except (OSError, HTTPException) as failure:
            raise CommandFailed(f"The answer of {self.url} broke off: {failure or type(failure).__name__}.", AWAY) from None
        except ValueError:
            raise self._stranger(answer.status) from None

    def stream(self, path: str, query: Query | None = None) -> Iterator[bytes]:
        """A streamed answer, piece by piece.

        Raises:
            CommandFailed: it is refused, nobody answers, or it ends before it is whole.
        """
        answer = self._send("GET", path, query, None)
        try:
            while chunk := answer.read1(CHUNK_BYTES):
                yield chunk
            if answer.length:
                raise CommandFailed(f"The answer of {self.url} broke off before it was whole. Try again.", AWAY)
        except (OSError, HTTPException) as failure:
            reason = str(failure) or type(failure).__name__
            raise CommandFailed(f"The answer of {self.url} broke off: {reason}. Try again.", AWAY) from None

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, method: str, path: str, query: Query | None, body: object) -> HTTPResponse:
        target = PREFIX + path + _query_text(query)
        headers = {"accept": "*/*"}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        sent = None
        if body is not None:
            headers["content-type"] = "application/json"
            sent = json.dumps(body).encode()
        answer = self._exchange(method, target, sent, headers)
        if answer.status >= 300:
            raise self._refusal(answer)
        return answer

    def _exchange(self, method: str, target: str, body: bytes | None, headers: dict[str, str]) -> HTTPResponse:
        """One request; once more on a new connection where the kept one was closed meanwhile."""
        is_kept = self._connection is not None
        try:
            connection = self._connection or self._open()
            connection.request(method, target, body, headers)
            return connection.getresponse()
        except (ConnectionError, HTTPException) as failure:
            self.close()
            if is_kept and method == "GET":
                return self._exchange(method, target, body, headers)
            raise self._away(failure) from None
        except OSError as failure:
            self.close()
            raise self._away(failure) from None
        except UnicodeEncodeError:
            raise CommandFailed(f"The key in {KEY_VARIABLE} (or --key) has characters that no key has.", USAGE) from None

    def _open(self) -> HTTPConnection:
        if self._socket_path is not None:
            self._connection = _UnixConnection(self._socket_path)
            return self._connection
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CommandFailed(f"{self.url} is no address: it must begin with http:// or https:// (--url, {URL_VARIABLE}).", USAGE)
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        connection = kind(parts.hostname, parts.port, timeout=CONNECT_SECONDS)
        connection.connect()
        connection.sock.settimeout(ANSWER_SECONDS)
        self._connection = connection
        return connection

    def _away(self, failure: Exception) -> CommandFailed:
        if isinstance(failure, ssl.SSLCertVerificationError):
            return CommandFailed(f"The certificate of {self.url} cannot be trusted: {failure.verify_message}.", AWAY)
        reason = "it takes too long" if isinstance(failure, TimeoutError) else str(failure) or type(failure).__name__
        return CommandFailed(
            f"Nobody answers at {self.url} ({reason}).\n"
            f"Is the server running (weighbridge serve)? Another address goes into --url or {URL_VARIABLE}.",
            AWAY,
        )

    def _stranger(self, status: int) -> CommandFailed:
        return CommandFailed(
            f"What answers at {self.url} (status {status}) is not Weighbridge's control API.\n"
            f"With --control-port it has a port of its own: set --url or {URL_VARIABLE} to that."
        )

    def _refusal(self, answer: HTTPResponse) -> CommandFailed:
        try:
            error = json.loads(answer.read())["error"]
            code, message = str(error["code"]), str(error["message"])
        except (OSError, HTTPException, ValueError, TypeError, KeyError):
            return self._stranger(answer.status)
        if answer.status == 401:
            if not self._key:
                return CommandFailed(f"This needs the admin key: set {KEY_VARIABLE}, or pass --key.")
            return CommandFailed(f"The key in {KEY_VARIABLE} (or --key) is refused by {self.url}: {message}.")
        if answer.status == 403:
            return CommandFailed(f"The key in {KEY_VARIABLE} (or --key) may not do this: {message}.")
        if answer.status == 503:
            return CommandFailed(f"{self.url}: {message}.", AWAY)
        if answer.status >= 500:
            return CommandFailed(f"{self.url} failed: {message}.", AWAY)
        return CommandFailed(f"{message[:1].upper()}{message[1:]}.", USAGE if code in ("bad_parameter", "bad_body") else REFUSED)


def _query_text(query: Query | None) -> str:
    given = {name: _word(value) for name, value in (query or {}).items() if value is not None and value != "" and value != ()}
    return "?" + urlencode(given) if given else ""


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
