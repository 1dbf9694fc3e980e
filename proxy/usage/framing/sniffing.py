"""Which framing an answer has: by its content type where that names one of its own, else by its first bytes.

First bytes count for more than the content type, because that is often wrong: errors in JSON under `text/event-stream`
(Gemini), events under `application/json` (old OpenAI), frames without any type, keep-alive blank lines before a body (OpenRouter).
"""

from __future__ import annotations

from proxy.usage.framing import Framing
from proxy.usage.framing.aws_eventstream import AwsEventStreamFraming, starts_like_frame
from proxy.usage.framing.json_array import JsonArrayFraming
from proxy.usage.framing.json_document import JsonDocumentFraming
from proxy.usage.framing.json_lines import JsonLinesFraming
from proxy.usage.framing.sse import SseFraming

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r\n"
_LINE_TYPES = ("ndjson", "jsonl", "stream+json", "json-seq")
_FIELD_STARTS = b"deir:"
"""First letters of `data`, `event`, `id`, `retry`, and of a comment."""


def sniff(head: bytes, content_type: str, *, is_failure: bool, is_stream: bool) -> tuple[Framing | None, bytes]:
    """Choose the framing.

    Args:
        head: all of the body so far that was not fed to a framing.
        content_type: of the response, lower case.
        is_failure: the status is 400 or above: a body that is not JSON is then a message, not a stream.
        is_stream: a stream was asked for, so that `[` begins one.

    Returns:
        The framing and the bytes to feed it; or None and the bytes to keep until there are more.
    """
    is_frame = "vnd.amazon.eventstream" in content_type or starts_like_frame(head)
    if is_frame is None:
        return None, head
    if is_frame:
        return AwsEventStreamFraming(), head
    body = head.removeprefix(_BOM).lstrip(_BLANK)
    if not body or (len(head) < len(_BOM) and _BOM.startswith(head)):
        return None, head if len(head) < len(_BOM) and _BOM.startswith(head) else b""
    first = body[:1]
    if first == b"[" and is_stream:
        return JsonArrayFraming(), body
    if first == b"{" and any(kind in content_type for kind in _LINE_TYPES):
        return JsonLinesFraming(), body
    is_events = "event-stream" in content_type or (first in _FIELD_STARTS and not is_failure)
    if first in b'{["' or not is_events:
        return JsonDocumentFraming(), body
    return SseFraming(), body
