"""One request to the fake provider, read: what was asked, what will be answered, and what that counts.

The answer is decided before its first byte goes out, from the request's bytes and the provider's seed alone: the same
request gets the same answer, and the usage at the end of a stream is known at its beginning.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from proxy.demo.book import Entry
from proxy.demo.knobs import Knobs
from proxy.demo.words import MESSAGE_TOKENS, make_words, sample_arguments, tokens_in, tokens_of

Json = dict[str, Any]

SNAPSHOTS = {
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
}
"""Asked name → the name that answers, where the real provider answers with a dated one."""

READ_KEYS = (
    "messages",
    "input",
    "prompt",
    "system",
    "systemInstruction",
    "contents",
    "content",
    "instructions",
    "query",
    "documents",
    "texts",
    "inputs",
    "tools",
)
"""Members of a request body that become input tokens; whatever else is in it does not."""


class Frame(NamedTuple):
    """One event of a stream, framed, and what it carries."""

    data: bytes
    tokens: int = 0
    """Output tokens whose text is in it."""
    has_usage: bool = False


class ToolCall(NamedTuple):
    """A tool the answer wants called."""

    id: str
    name: str
    arguments: str
    """JSON text."""


@dataclass(slots=True)
class Answer:
    """What is said. Output tokens = words + tool call + reasoning."""

    words: list[str]
    tool: ToolCall | None
    reasoning_tokens: int
    is_capped: bool

    @property
    def text(self) -> str:
        return "".join(self.words)

    @property
    def tool_tokens(self) -> int:
        return tokens_of(self.tool.name) + tokens_of(self.tool.arguments) if self.tool else 0

    @property
    def output_tokens(self) -> int:
        return len(self.words) + self.tool_tokens + self.reasoning_tokens


@dataclass(slots=True)
class Call:
    """A request and its answer."""

    entry: Entry
    knobs: Knobs
    body: Json
    rng: random.Random
    model: str
    is_stream: bool
    answer: Answer
    choices: int
    path_values: Mapping[str, str]
    query: Mapping[str, str]
    created: int

    @property
    def id(self) -> str:
        return self.entry.request_id.removeprefix("req_")

    @property
    def response_model(self) -> str:
        return SNAPSHOTS.get(self.model, self.model)

    @property
    def output_tokens(self) -> int:
        return self.answer.output_tokens * self.choices


class Dialect(NamedTuple):
    """How one API writes things down."""

    api: str
    whole: Callable[[Call], Json | bytes]
    """The body of an answer that is not streamed."""
    frames: Callable[[Call], Iterator[Frame]] | None
    """The events of a streamed one; None: this API does not stream."""
    error_body: Callable[[int, str, str], Json]
    """Status, message, request id → the body of an error."""
    error_frame: Callable[[str], bytes]
    """The event that breaks a stream off."""
    is_stream: Callable[[Json, Mapping[str, str], Mapping[str, str]], bool] = lambda body, path, query: body.get("stream") is True
    cap: Callable[[Json], object] = lambda body: body.get("max_completion_tokens") or body.get("max_tokens")
    stream_type: str = "text/event-stream; charset=utf-8"
    whole_type: str = "application/json"
    request_id_header: str = "x-request-id"
    has_output: bool = True
    """False: embeddings, ranks: input only."""


def tool_schemas(body: Json) -> list[tuple[str, object]]:
    """(name, JSON schema) of each tool offered, in whichever dialect's shape."""
    found: list[tuple[str, object]] = []
    for tool in body.get("tools") or ():
        if not isinstance(tool, dict):
            continue
        for one in tool.get("functionDeclarations") or tool.get("function_declarations") or [tool.get("function") or tool]:
            if isinstance(one, dict) and isinstance(one.get("name"), str):
                schema = one.get("parameters") or one.get("parametersJsonSchema") or one.get("input_schema") or {}
                found.append((one["name"], schema))
    return found


def _has_tool_result(body: Json) -> bool:
    """The last turn brings a tool's result, so the answer is text."""
    turns = body.get("messages") or body.get("contents") or body.get("input") or []
    last = turns[-1] if isinstance(turns, list) and turns else {}
    if not isinstance(last, dict):
        return False
    if last.get("role") == "tool" or last.get("type") == "function_call_output":
        return True
    parts = last.get("content") or last.get("parts")
    if not isinstance(parts, list):
        return False
    return any(isinstance(part, dict) and (part.get("type") == "tool_result" or "functionResponse" in part) for part in parts)


def make_answer(rng: random.Random, body: Json, knobs: Knobs, cap: object) -> Answer:
    """Decide what to say: a tool call where tools are offered and nothing came back yet, else some sentences within the cap."""
    tools = tool_schemas(body)
    if tools and not _has_tool_result(body):
        name, schema = tools[0]
        arguments = json.dumps(sample_arguments(schema, rng))
        return Answer([], ToolCall(f"call_{rng.getrandbits(64):016x}", name, arguments), knobs.reasoning, False)
    wanted = knobs.words if knobs.words is not None else rng.randint(12, 48)
    room = max(0, cap - knobs.reasoning) if isinstance(cap, int) else wanted
    return Answer(make_words(rng, min(wanted, room)), None, knobs.reasoning, wanted > room)


def count_input(body: Json) -> int:
    """Input tokens of a request body."""
    turns = body.get("messages") or body.get("contents") or body.get("input") or []
    envelope = MESSAGE_TOKENS * (len(turns) if isinstance(turns, list) else 1)
    return envelope + sum(tokens_in(body[key]) for key in READ_KEYS if key in body)


def make_call(
    entry: Entry,
    knobs: Knobs,
    body: Json,
    raw: bytes,
    seed: int,
    dialect: Dialect,
    path_values: Mapping[str, str],
    query: Mapping[str, str],
) -> Call:
    """Read one request; fills the entry's counts."""
    rng = random.Random(f"{seed}:{entry.path}:".encode() + raw)  # noqa: S311 - words, not secrets
    model = str(path_values.get("model") or body.get("model") or "")
    is_stream = dialect.frames is not None and dialect.is_stream(body, path_values, query)
    answer = make_answer(rng, body, knobs, dialect.cap(body)) if dialect.has_output else Answer([], None, 0, False)
    asked = body.get("n")
    choices = asked if isinstance(asked, int) and asked > 0 and dialect.has_output else 1
    call = Call(entry, knobs, body, rng, model, is_stream, answer, choices, path_values, query, int(time.time()))
    entry.model, entry.response_model, entry.is_stream = model, call.response_model, is_stream
    entry.cache_read_tokens, entry.cache_write_tokens = knobs.cached, knobs.cache_write
    entry.input_tokens = max(count_input(body), knobs.cached + knobs.cache_write)
    entry.output_tokens, entry.reasoning_tokens = call.output_tokens, answer.reasoning_tokens * choices
    options = body.get("stream_options")
    entry.asks_for_usage = isinstance(options, dict) and options.get("include_usage") is True
    return call


def sse(event: object, name: str | None = None, end: str = "\n") -> bytes:
    """One server-sent event with a JSON payload."""
    head = f"event: {name}{end}" if name else ""
    return f"{head}data: {json.dumps(event, separators=(',', ':'))}{end}{end}".encode()
