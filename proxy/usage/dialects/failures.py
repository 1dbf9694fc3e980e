"""Error objects, of every provider and of errors inside a 200 stream, as one short text `type or code: message`."""

from __future__ import annotations

from proxy.usage.dialects.fields import Object, mapping, text

MAX_ERROR_CHARACTERS = 500


def error_text(event: object) -> str | None:
    """The error in an event's `error` member (or in the event itself, if it is `{"type": "error"}`); None where there is none."""
    if isinstance(event, list):
        return error_text(event[0]) if event else None
    if not isinstance(event, dict):
        return None
    error = event.get("error")
    if not error:
        if event.get("type") == "error" or event.get("object") == "error":
            return _describe(event)
        return _other_errors(event)
    if isinstance(error, str):
        return _shorten(error)
    return _describe(error) if isinstance(error, dict) else _shorten(str(error))


def _other_errors(event: Object) -> str | None:
    """Failures under other names: a list (watsonx, Cloudflare), `base_resp` (MiniMax), `error_code` and `error_msg` (Baidu)."""
    errors = event.get("errors")
    if errors and isinstance(errors, list):
        return _describe(errors[0]) if isinstance(errors[0], dict) else _shorten(str(errors[0]))
    base = event.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return _shorten(f"{base['status_code']}: {text(base.get('status_msg')) or 'error'}")
    if event.get("error_code") and "error_msg" in event:
        return _shorten(f"{event['error_code']}: {text(event.get('error_msg')) or 'error'}")
    return None


def failed_body_text(body: object, error_type: str | None = None) -> str | None:
    """The error in the body of an answer with a failure status; there a bare `message` is one, too.

    Args:
        error_type: `x-amzn-errortype`, whose body has no type of its own.
    """
    if isinstance(body, list) and body:
        body = body[0]
    found = error_text(body)
    if found or not isinstance(body, dict):
        return found
    message = text(body.get("message")) or text(body.get("Message")) or text(body.get("detail")) or text(body.get("msg"))
    detail = body.get("detail")
    if message is None and detail:
        message = str(detail)
    if message is None:
        return error_type
    kind = error_type or _kind(body)
    return _shorten(f"{kind}: {message}" if kind else message)


def _describe(error: Object) -> str:
    inner = mapping(error.get("error"))
    message = text(error.get("message")) or text(inner.get("message")) or text(error.get("detail")) or ""
    kind = _kind(error) or _kind(inner)
    if kind and message:
        return _shorten(f"{kind}: {message}")
    return _shorten(kind or message or "error")


def _kind(error: Object) -> str | None:
    """The most telling name: code where it is a word, else type or status; a number where there is nothing else."""
    code = error.get("code")
    for value in (code, error.get("type"), error.get("status"), error.get("error_type"), error.get("__type")):
        if isinstance(value, str) and value and value != "error":
            return value
    return str(code) if isinstance(code, int) and code else None


def _shorten(message: str) -> str:
    return message[:MAX_ERROR_CHARACTERS]
