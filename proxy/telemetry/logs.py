"""Log lines: JSON for machines, colours for a terminal, and never a credential in either.

Rules of this file: every line of the program, of aiohttp and of asyncio passes `redact` last, after exceptions have been
made text; standard fields are `timestamp` (UTC), `level`, `logger`, `event`.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import orjson
import structlog

REDACTED = "[redacted]"

_SECRET_NAMES = frozenset(
    (
        "authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "api_key", "apikey", "key", "password",
        "secret", "token", "access_token", "refresh_token", "client_secret", "cookie", "set-cookie", "admin_key", "credential",
    )
)  # fmt: skip
_SECRETS = re.compile(
    r"""
      (?P<scheme>(?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}            # a header's value
    | \b(?P<url>[a-z][a-z0-9+.-]{0,30}://[^\s:/@]*:)[^\s/@]+(?=@)             # a password inside a URL
    | (?P<query>[?&](?:key|api[_-]?key|access_token|token|sig|signature|x-amz-signature|x-amz-security-token)=)[^&\s"']+
    | (?P<named>["']?(?:x-api-key|api[_-]?key|x-goog-api-key|authorization|password|secret)["']?\s*[:=]\s*["']?)[^\s"',;&}]{8,}
    | \b(?:wb|sk|pk|rk|gsk|xai|pplx|r8|hf|nvapi|fw|csk|tgp|ak)[-_][A-Za-z0-9_-]{12,}   # keys known by their first letters
    | \bAIza[A-Za-z0-9_-]{20,}                                         # Google
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                                    # AWS
    | \beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*      # a JSON web token
    """,
    re.IGNORECASE | re.VERBOSE,
)
_DEPTH = 6
"""How deep structures are looked through; what is nested deeper is left out of the line."""


def redact_text(text: str) -> str:
    """The text with everything that looks like a credential replaced."""
    return _SECRETS.sub(_keep_prefix, text)


def redact(logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """structlog processor: no credential leaves, by field name or by look."""
    return {name: _clean(name, value, _DEPTH) for name, value in event.items()}


def configure_logs(level: str = "info", stream: TextIO | None = None, *, is_console: bool | None = None) -> None:
    """Set up logging for this process.

    Args:
        level: debug, info, warning or error.
        stream: where lines go; standard error where None.
        is_console: coloured lines instead of JSON; None: if the stream is a terminal.
    """
    out = stream if stream is not None else sys.stderr
    console = out.isatty() if is_console is None else is_console
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: Any = structlog.dev.ConsoleRenderer(colors=console) if console else _render_json
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.PositionalArgumentsFormatter(),
            *before,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    lines = logging.StreamHandler(out)
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [lines]
    root.setLevel(level.upper())
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # it has a line for each answer of control's


def _clean(name: str, value: object, depth: int) -> object:
    if isinstance(name, str) and name.lower() in _SECRET_NAMES and value is not None:
        return REDACTED
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "replace"))
    if depth == 0:
        return "…"
    if isinstance(value, Mapping):
        return {key: _clean(key, inner, depth - 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_clean("", inner, depth - 1) for inner in value]
    if isinstance(value, (int, float)) or value is None or name.startswith("_"):
        return value
    return redact_text(str(value))


def _keep_prefix(found: re.Match[str]) -> str:
    kept = found["scheme"] or found["url"] or found["query"] or found["named"] or ""
    return kept + REDACTED


def _render_json(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
