"""The two edits that may be made to a request body, and the one to a stream; all other bytes stay as they were.

Rules of this file: a body is spliced, never serialised again; the result parses to the same document and the one change. An edit
that cannot be made surely is not made (None). From a stream only a whole event is taken out, and only one that is certain to be
the usage event asked for by us.

What is not here: whether an edit is wanted (relay), which name a cap has (output_caps).
"""

from __future__ import annotations

import re

import orjson

from proxy.usage.json_spans import Member, members, object_end, object_start
from proxy.usage.output_caps import Path, as_tokens, cap_paths, value_at
from proxy.usage.request_body import parse_large_body

_ASK = b'"include_usage":true'
_ASK_MEMBER = b',"stream_options":{"include_usage":true}'
MIN_RESPONSES_CAP_TOKENS = 16
"""The Responses API refuses smaller `max_output_tokens` (API reference, read 2026-11-21)."""

Splice = tuple[int, int, bytes]


def with_usage_asked(body: bytes, is_known_absent: bool = False) -> bytes | None:
    """Add `stream_options.include_usage: true` to a streaming request.

    Args:
        body: the whole request body.
        is_known_absent: the body has been read already: a valid object that streams and has no `stream_options`
            (`facts.can_inject_usage and not facts.has_stream_options`); saves parsing it again.

    Returns:
        The new body; None where the client said whether it wants usage, does not stream, or the body cannot be edited.
    """
    if is_known_absent:
        return _before_last_brace(body, _ASK_MEMBER)
    document, is_strict, _ = parse_large_body(body)
    if document is None or not is_strict or document.get("stream") is not True:
        return None
    if "stream_options" not in document:
        return _before_last_brace(body, _ASK_MEMBER)
    options = document["stream_options"]
    if options is not None and (not isinstance(options, dict) or "include_usage" in options):
        return None
    given = [member for member in members(body, object_start(body)) if member.name == "stream_options"][-1]  # the last one counts
    if options is None:
        return body[: given.start] + b"{" + _ASK + b"}" + body[given.end :]
    return body[: given.end - 1] + (b"," if options else b"") + _ASK + body[given.end - 1 :]


def with_output_cap(body: bytes, api: str, cap_tokens: int) -> bytes | None:
    """Set or lower the request's own output cap (per choice).

    The name the client used is kept; where it used none, see output_caps. A lower cap of the client's own stays.

    Returns:
        The body, changed or not; None where a cap could not be set so that the provider accepts and obeys it: then a strict
        limit has to hold the model's own maximum.
    """
    document, is_strict, _ = parse_large_body(body)
    if document is None or not is_strict or cap_tokens < 1 or _would_be_refused(document, api, cap_tokens):
        return None
    paths = cap_paths(document, api)
    splices: list[Splice] = []
    start = object_start(body)
    if not paths or not all(_cap_member(body, start, path, cap_tokens, splices) for path in paths):
        return None
    for begin, end, text in sorted(splices, reverse=True):
        body = body[:begin] + text + body[end:]
    return body


def _would_be_refused(document: dict[str, object], api: str, cap_tokens: int) -> bool:
    """Caps that the provider answers with a 400."""
    if api == "openai.responses":
        return cap_tokens < MIN_RESPONSES_CAP_TOKENS
    if api == "anthropic.messages":  # max_tokens must be larger than the thinking budget
        budget = as_tokens(value_at(document, ("thinking", "budget_tokens")))
        return budget is not None and budget >= cap_tokens
    return False


def _cap_member(body: bytes, at: int, path: Path, cap_tokens: int, splices: list[Splice]) -> bool:
    """Collect what makes `path`, below the object at `at`, at most cap_tokens, wherever a name is repeated. False: it cannot be."""
    name, deeper = path[0], path[1:]
    found = [member for member in members(body, at) if member.name == name]
    if not found:
        value = b"%d" % cap_tokens
        for step in reversed(deeper):
            value = b'{"%s":%s}' % (step.encode(), value)
        return _add_member(body, at, name, value, splices)
    if deeper:
        return all(_cap_inside(body, member, deeper, cap_tokens, splices) for member in found)
    for member in found:
        amount = as_tokens(orjson.loads(body[member.start : member.end]))
        if amount is None or amount > cap_tokens:
            splices.append((member.start, member.end, b"%d" % cap_tokens))
    return True


def _cap_inside(body: bytes, member: Member, path: Path, cap_tokens: int, splices: list[Splice]) -> bool:
    if body[member.start : member.start + 1] == b"{":
        return _cap_member(body, member.start, path, cap_tokens, splices)
    if body[member.start : member.end] != b"null":
        return False
    splices.append((member.start, member.end, b'{"%s":%d}' % (path[0].encode(), cap_tokens)))
    return len(path) == 1


def _add_member(body: bytes, at: int, name: str, value: bytes, splices: list[Splice]) -> bool:
    end = object_end(body, at)
    is_empty = next(members(body, at), None) is None
    splices.append((end, end, b'%s"%s":%s' % (b"" if is_empty else b",", name.encode(), value)))
    return True


def _before_last_brace(body: bytes, text: bytes) -> bytes | None:
    end = body.rfind(b"}")
    return body[:end] + text + body[end:] if end > 0 else None


_SUSPECT = re.compile(rb'"choices"\s*+:\s*+\[\s*+\]')
_CHOICES = b'"choices"'
_CHOICES_VALUE = re.compile(rb'"choices"\s*+(?::\s*+(?:\[\s*+(.)?)?)?', re.DOTALL)
_FRAMED_ENDS = (b"\n\n\r\n", b"\r\n\r\n\r\n")
_EVENT_END = re.compile(rb"\n\r?\n")
_DATA = b"data:"
_DATA_LINE = re.compile(rb"^data: ?([^\r\n]*)", re.MULTILINE)
_MAX_HELD_BYTES = 65_536
_START, _INSIDE, _COMMENT = range(3)


class UsageEventRemover:
    """Takes our usage event (`choices: []`, a usage object, no content) out of an OpenAI-style SSE stream.

    Bytes leave in the feed they came in, except those of an unfinished event that may still turn out to be the usage event: what
    begins with `data:` and has shown no choice yet, at most 64 KiB of it. Line ends may be LF or CRLF.
    """

    __slots__ = ("_carry", "_held", "_scanned", "_state")

    def __init__(self) -> None:
        self._held = b""  # beginning of an event that may be the usage event
        self._scanned = 0  # how much of it has been looked through
        self._state = _START
        self._carry = b""  # last bytes of an event being passed on, for its end may be split

    def passes(self, framed: bytes) -> bool:
        """Whether a whole HTTP chunk, framing included, would come out of `feed` as it is and leave nothing behind."""
        return self._state == _START and not self._held and framed.endswith(_FRAMED_ENDS) and _SUSPECT.search(framed) is None

    def feed(self, chunk: bytes) -> bytes:
        """What may go to the client now."""
        if self._state == _START and not self._held and chunk.endswith((b"\n\n", b"\r\n\r\n")) and _SUSPECT.search(chunk) is None:
            return chunk  # whole events without a suspect: nearly every chunk
        text = self._held + chunk
        scanned, self._held, self._scanned = self._scanned, b"", 0
        size = len(text)
        out: list[bytes] = []
        kept = at = 0
        while at < size:
            if self._state == _COMMENT:
                end = text.find(b"\n", at) + 1
                if not end:
                    break
                at, self._state = end, _START
            elif self._state == _INSIDE:
                at = self._pass_on(text, at)
            elif text[at] in b"\r\n":
                at += 1
            elif text[at] == 0x3A:  # a comment line belongs to no event
                self._state = _COMMENT
            else:
                found = _EVENT_END.search(text, max(at, scanned - 2))
                if found is not None:
                    if _is_usage_event(text[at : found.end()]):
                        out.append(text[kept:at])
                        kept = found.end()
                    at = found.end()
                elif _may_be_usage_event(text, at, scanned):
                    self._held, self._scanned = text[at:], size - at
                    out.append(text[kept:at])
                    return b"".join(out)
                else:
                    self._state = _INSIDE
                    self._carry = b""
            scanned = 0
        out.append(text[kept:])
        return b"".join(out)

    def flush(self) -> bytes:
        """The stream has ended: what was held back, unless it is the usage event without its last line end."""
        held, self._held, self._scanned = self._held, b"", 0
        return b"" if _is_usage_event(held) else held

    def _pass_on(self, text: bytes, at: int) -> int:
        """Go on to the end of an event that is certainly another one; its blank line may be split over two feeds."""
        joined = self._carry + text[at:]
        found = _EVENT_END.search(joined)
        if found is None:
            self._carry = joined[-2:]
            return len(text)
        at += found.end() - len(self._carry)
        self._carry = b""
        self._state = _START
        return at


def _is_usage_event(event: bytes) -> bool:
    """Whether it is the usage event and nothing else: one that also brings an error, or a list (xAI's citations, search
    results), tells the client what no other event does, and stays."""
    if not event.startswith(_DATA) or _SUSPECT.search(event) is None:
        return False
    try:
        document = orjson.loads(b"\n".join(_DATA_LINE.findall(event)))
    except orjson.JSONDecodeError:
        return False
    if type(document) is not dict or document.get("choices") != [] or type(document.get("usage")) is not dict:
        return False
    return not document.get("error") and not any(
        name != "choices" and value and type(value) is list for name, value in document.items()
    )


def _may_be_usage_event(text: bytes, at: int, scanned: int) -> bool:
    """Whether an unfinished event can still become the usage event. Wrong either way no byte is lost: it is late, or seen."""
    size = len(text) - at
    if size <= len(_DATA):
        return _DATA.startswith(text[at:])
    if size > _MAX_HELD_BYTES or not text.startswith(_DATA, at):
        return False
    if scanned < at + 16:  # the first look at what follows `data:`
        begin = text[at + len(_DATA) : at + len(_DATA) + 16].lstrip(b" ")
        if begin and begin[:1] != b"{":
            return False
    while (at := text.find(_CHOICES, at)) >= 0:
        found = _CHOICES_VALUE.match(text, at)
        if found is not None and found[1] is not None:
            return found[1] == b"]"
        if found is None or found.end() == len(text):
            return True  # not all of it is here
        at = found.end()  # a value, not the name
    return True
