"""No credential leaves in a log line, by whatever way it came into one."""

from __future__ import annotations

import io
import logging
import timeit
from collections.abc import Iterator

import orjson
import pytest
import structlog

from proxy.telemetry.logs import configure_logs, redact_text

SECRETS = [
    "wb-" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8S9t0U1v",
    "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789",
    "sk-ant-api03-abcdefghijklmnopqrstuvwxyz",
    "AIzaSyA1234567890abcdefghijklmnopqrstu",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcDEF123",
]


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    stream = io.StringIO()
    configure_logs("debug", stream, is_console=False)
    yield stream
    logging.getLogger().handlers[:] = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("secret", SECRETS)
def test_keys_are_known_by_their_looks_wherever_they_stand(out: io.StringIO, secret: str) -> None:
    log = structlog.get_logger("t")
    log.info(f"event with {secret} inside", note=f"a {secret}", deep={"list": [{"x": secret}]}, raw=secret.encode())
    logging.getLogger("other.library").warning("from the standard library: %s", secret)
    try:
        raise ValueError(f"bad key {secret}")
    except ValueError:
        log.exception("failed")
    assert secret not in out.getvalue()
    assert out.getvalue().count("[redacted]") >= 6


@pytest.mark.parametrize("name", ["authorization", "X-Api-Key", "api_key", "password", "Cookie", "token"])
def test_fields_of_credential_names_are_hidden_whatever_they_hold(out: io.StringIO, name: str) -> None:
    structlog.get_logger("t").info("request", headers={name: "short"}, **{name: 12345678})
    line = orjson.loads(out.getvalue())
    assert line[name] == "[redacted]"
    assert line["headers"][name] == "[redacted]"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
        ("GET /v1beta/models?key=abcdef123&alt=sse", "abcdef123"),
        ("postgresql://wb:hunter22@127.0.0.1/db", "hunter22"),
        ('{"x-api-key": "0123456789abcdef"}', "0123456789abcdef"),
    ],
)
def test_secrets_in_known_places_go_and_the_rest_stays(text: str, kept: str) -> None:
    cleaned = redact_text(text)
    assert kept not in cleaned
    assert "[redacted]" in cleaned
    assert cleaned.split("[redacted]")[0] == text.split(kept)[0]


def test_plain_words_are_left_alone() -> None:
    text = "user alice over limit users.alice.tokens.per_day; request 0199f3b2-1111-7abc-8def-0123456789ab; total_tokens=12"
    assert redact_text(text) == text


def test_a_line_is_json_with_the_standard_fields(out: io.StringIO) -> None:
    structlog.get_logger("control.app").warning("reload refused", version="v1", mistakes=2)
    line = orjson.loads(out.getvalue())
    assert {name: line[name] for name in ("level", "logger", "event", "version", "mistakes")} == {
        "level": "warning", "logger": "control.app", "event": "reload refused", "version": "v1", "mistakes": 2,
    }  # fmt: skip
    assert line["timestamp"].endswith("Z")


def test_a_terminal_gets_readable_lines_without_credentials() -> None:
    handlers, level = logging.getLogger().handlers[:], logging.getLogger().level
    stream = io.StringIO()
    configure_logs("info", stream, is_console=True)
    try:
        structlog.get_logger("t").info("hello", api_key=SECRETS[0], note=SECRETS[1])
    finally:
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)
        structlog.reset_defaults()
    assert "hello" in stream.getvalue()
    assert SECRETS[0] not in stream.getvalue()
    assert SECRETS[1] not in stream.getvalue()


@pytest.mark.parametrize("word", ["a", "x.y-", "A1b2", "key=", "wb-"])
def test_a_long_word_is_looked_through_once(word: str) -> None:
    """Ten times the text takes about ten times as long: who makes the proxy log a long word must not stop its loop."""

    def seconds(size: int) -> float:
        text = word * (size // len(word))
        return min(timeit.repeat(lambda: redact_text(text), number=1, repeat=3))

    assert seconds(40_000) < 40 * max(seconds(4_000), 0.0005)
