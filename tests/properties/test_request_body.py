"""Leaving long strings out of a body gives the same document as parsing all of it; edits change one thing and no other byte."""

from __future__ import annotations

import json
from unittest import mock

import orjson
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.usage import request_body
from proxy.usage.edits import with_output_cap, with_usage_asked
from proxy.usage.request_body import MARK, parse_large_body, text_bytes

NAMES = st.sampled_from(
    ["model", "stream", "stream_options", "include_usage", "max_tokens", "messages", "user", "a", "\u00e9", '"', "\\", "}", "]"]
)
TEXTS = st.one_of(
    st.text(max_size=12),
    st.text(alphabet="AZaz09+/=", min_size=4, max_size=60),
    st.text(alphabet=',:]}[{"\\ \n1a', max_size=40),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(NAMES, TEXTS), inner, max_size=4)),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.one_of(NAMES, TEXTS), VALUES, max_size=6)
LAYOUTS = st.sampled_from(
    [
        {"separators": (",", ":")},
        {"separators": (", ", ": ")},
        {"indent": 1},
        {"separators": (" ,\t", " :\n"), "ensure_ascii": False},
    ]
)


def same(whole: object, short: object, lengths: tuple[int, ...]) -> bool:
    """Whether `short` is `whole` but for stand-ins, whose strings must be as long as they say (names can be long, too)."""
    if isinstance(short, str) and lengths and short.startswith(MARK):
        return isinstance(whole, str) and len(whole.encode()) == text_bytes(short, lengths)
    if isinstance(whole, dict) and isinstance(short, dict):
        pairs = zip([*whole.keys(), *whole.values()], [*short.keys(), *short.values()], strict=True)
        return len(whole) == len(short) and all(same(a, b, lengths) for a, b in pairs)
    if isinstance(whole, list) and isinstance(short, list):
        return len(whole) == len(short) and all(same(a, b, lengths) for a, b in zip(whole, short, strict=True))
    return type(whole) is type(short) and whole == short


@settings(max_examples=400, deadline=None)
@given(OBJECTS, LAYOUTS, st.integers(1, 24))
@example({"a": MARK + "0", "b": "x" * 50}, {"separators": (",", ":")}, 8)
@example({"a": "\\" * 9 + '"' + "x" * 50, "b": ["y" * 50, "z"]}, {"separators": (",", ":")}, 8)
@example({"a": [1] * 60, "model": "m"}, {"separators": (",", ":")}, 4)
def test_leaving_strings_out_gives_the_same_document(document: dict[str, object], layout: dict[str, object], shortest: int) -> None:
    body = json.dumps(document, **layout).encode()  # type: ignore[arg-type]
    with mock.patch.object(request_body, "LONG_BODY_BYTES", 2), mock.patch.object(request_body, "LONG_STRING_BYTES", shortest):
        parsed = parse_large_body(body)
    assert parsed.is_strict
    assert same(orjson.loads(body), parsed.document, parsed.long_strings)
    assert all(length >= shortest for length in parsed.long_strings)


def is_one_splice(before: bytes, after: bytes) -> bool:
    """`after` is `before` with one run of bytes put in (and perhaps a `null` taken out)."""
    start = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after)))
    end = next((i for i, (a, b) in enumerate(zip(before[::-1], after[::-1], strict=False)) if a != b), min(len(before), len(after)))
    return start + end >= len(before) or before[start : len(before) - end] in (b"null", b"nul", b"ull")


@settings(max_examples=400, deadline=None)
@given(OBJECTS, LAYOUTS, st.sampled_from(["absent", "null", "empty", "other"]), st.text(alphabet=" \t\r\n", max_size=3))
def test_asking_for_usage_changes_nothing_else(
    document: dict[str, object], layout: dict[str, object], options: str, space: str
) -> None:
    document.pop("stream_options", None)
    document["stream"] = True
    if options != "absent":
        given_options: dict[str, object] = {"include_obfuscation": False, "x": '}"'} if options == "other" else {}
        items = list(document.items())
        items.insert(len(items) // 2, ("stream_options", None if options == "null" else given_options))
        document = dict(items)
    body = (space + json.dumps(document, **layout) + space).encode()  # type: ignore[arg-type]
    edited = with_usage_asked(body)
    assert edited is not None
    expected = orjson.loads(body)
    expected["stream_options"] = (expected.get("stream_options") or {}) | {"include_usage": True}
    result = orjson.loads(edited)
    assert result == expected
    assert list(result) == list(expected)
    assert is_one_splice(body, edited)
    if options == "absent":
        assert with_usage_asked(body, is_known_absent=True) == edited
    assert with_usage_asked(edited) is None


@settings(max_examples=300, deadline=None)
@given(OBJECTS, LAYOUTS, st.one_of(st.none(), st.integers(0, 200)), st.integers(1, 100))
def test_a_cap_changes_nothing_else(document: dict[str, object], layout: dict[str, object], own: int | None, cap: int) -> None:
    document.pop("max_tokens", None)
    document.pop("max_completion_tokens", None)
    document["model"] = "llama"
    if own is not None:
        items = list(document.items())
        items.insert(len(items) // 2, ("max_tokens", own))
        document = dict(items)
    body = json.dumps(document, **layout).encode()  # type: ignore[arg-type]
    edited = with_output_cap(body, "openai.chat", cap)
    assert edited is not None
    expected = orjson.loads(body)
    expected["max_tokens"] = cap if own is None else min(own, cap)
    assert orjson.loads(edited) == expected
    if own is not None and own <= cap:
        assert edited == body
