"""Which bodies can use more input than they have bytes."""

from __future__ import annotations

import json

import pytest

from proxy.limits.hidden_input import HIDDEN_PROMPT_TOKENS, OPEN_ENDED, PLAIN, TOOLS, known_hidden_tokens
from proxy.limits.hidden_input import hidden_input as flags_of


def hidden_input(body: bytes | None) -> int:
    return flags_of(None if body is None else json.loads(body))


def chat(content: object, **fields: object) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}], **fields}).encode()


@pytest.mark.parametrize(
    "content",
    [
        "hi",
        "Search the web for an image, a document and a file.",
        "Größe: 5 µm, „naïve“ 漢字 😀",
        "a <b> & 'c'",
        'say "hello" to the "world"',
    ],
)
def test_text_is_bounded_by_its_bytes(content: str) -> None:
    assert hidden_input(chat(content)) == PLAIN


def test_escapes_that_serialisers_make_hide_nothing() -> None:
    assert hidden_input(rb'{"messages":[{"content":"\u003cb\u003e \u0026 \u00e9 \u0027 \u2028"}]}') == PLAIN


def test_tools_and_schemas_bring_instructions() -> None:
    assert hidden_input(chat("hi", tools=[{"type": "function", "function": {"name": "f"}}])) == TOOLS
    assert hidden_input(chat("hi", response_format={"type": "json_schema", "json_schema": {}})) == TOOLS


@pytest.mark.parametrize(
    "body",
    [
        chat([{"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}]),
        chat([{"type": "input_file", "file_id": "file-1"}]),
        chat([{"type": "document", "source": {"type": "url", "url": "https://example.org/a.pdf"}}]),
        b'{"model":"m","input":"go on","previous_response_id":"resp_1"}',
        b'{"model":"m","input":"go on","conversation":"conv_1"}',
        b'{"model":"m","prompt": {"id":"pmpt_1"}}',
        b'{"contents":[{"parts":[{"fileData":{"fileUri":"gs://a/b"}}]}]}',
        b'{"contents":[{"parts":[{"text":"hi"}]}],"cachedContent":"cachedContents/1"}',
        b'{"contents":[],"tools":[{"googleSearch":{}}]}',
        b'{"tools":[{"type":"web_search_20250305","name":"web_search"}]}',
        b'{"input":"hi","tools":[{"type":"mcp","server_url":"https://example.org"}]}',
        b'{"model":"llava","prompt":"what is this?","images":["aGk="]}',
        b'{"messages":[{"content":[{"type":"\\u0069mage_url"}]}]}',
        None,
    ],
)
def test_references_media_and_provider_tools_are_open_ended(body: bytes | None) -> None:
    assert hidden_input(body) & OPEN_ENDED


def test_known_prompts_in_front() -> None:
    assert known_hidden_tokens("openai/gpt-4o") == HIDDEN_PROMPT_TOKENS
    assert known_hidden_tokens("cohere/command-a-03-2025") > 1_400
