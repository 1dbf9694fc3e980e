"""Heads, sorted: what is forwarded, what is a credential, what is refused."""

from __future__ import annotations

from dataclasses import fields

import pytest

from proxy.routing.headers import Header, MalformedHead, RequestHead, read_head
from proxy.routing.provider import Provider
from proxy.routing.request_lines import query_for, request_lines
from proxy.routing.response_head import read_response_head

PROVIDER = Provider("openai", "https", "api.openai.com", 443, b"", "openai", "openai", api_key="sk-real")


def lines(headers: list[Header], *, is_swapped: bool, wants_identity: bool = False, target: bytes = b"/v1/x") -> list[bytes]:
    head = read_head("POST", target, "1.1", headers)
    sent = request_lines(head, target, b"host", b"", PROVIDER, is_swapped=is_swapped, wants_identity=wants_identity)
    assert sent.endswith(b"\r\n\r\n")
    return sent[:-4].split(b"\r\n")[2:]


def test_nothing_moves_where_the_key_is_the_callers_own() -> None:
    headers = [
        (b"X-A", b"1"),
        (b"authorization", b"Bearer  sk-own "),
        (b"X-B", b"2"),
        (b"Accept-Encoding", b"gzip"),
        (b"X-C", b"3"),
    ]
    assert lines(headers, is_swapped=False) == [name + b": " + value for name, value in headers]


def test_a_swap_takes_every_credential_out_and_leaves_the_rest_in_order() -> None:
    headers = [(b"X-A", b"1"), (b"authorization", b"Bearer wb-x"), (b"x-api-key", b"wb-x"), (b"X-B", b"2"), (b"Api-Key", b"wb-x")]
    assert lines(headers, is_swapped=True) == [b"Authorization: Bearer sk-real", b"X-A: 1", b"X-B: 2"]


def test_a_swap_finds_credentials_behind_what_connection_takes_out() -> None:
    headers = [(b"X-Hop", b"1"), (b"x-api-key", b"wb-x"), (b"X-B", b"2"), (b"Accept-Encoding", b"br"), (b"Connection", b"x-hop")]
    assert lines(headers, is_swapped=True, wants_identity=True) == [
        b"Authorization: Bearer sk-real",
        b"X-B: 2",
        b"Accept-Encoding: identity",
    ]


def test_identity_is_asked_for_in_place_and_only_where_an_encoding_was_named() -> None:
    assert lines([(b"accept-encoding", b"gzip"), (b"X", b"1")], is_swapped=False, wants_identity=True) == [
        b"accept-encoding: identity",
        b"X: 1",
    ]
    assert lines([(b"X", b"1")], is_swapped=False, wants_identity=True) == [b"X: 1"]


@pytest.mark.parametrize(
    ("target", "stripped", "keys"),
    [
        (b"/v1?key=k1&a=1", b"/v1?a=1", ["k1"]),
        (b"/v1?a=1&key=k%2B1", b"/v1?a=1", ["k+1"]),
        (b"/v1?key=k1", b"/v1", ["k1"]),
        (b"/v1?api-key=k1&key=k2", b"/v1", ["k1", "k2"]),
        (b"/v1?monkey=k1&key2=x", b"/v1?monkey=k1&key2=x", []),
        (b"/v1?key=", b"/v1?key=", []),
    ],
)
def test_keys_in_the_query(target: bytes, stripped: bytes, keys: list[str]) -> None:
    head = read_head("GET", target, "1.1", [])
    assert (head.target, [credential.key for credential in head.credentials]) == (stripped, keys)
    query = stripped.partition(b"?")[2]
    assert b"/v1" + query_for(head, query, True) == stripped
    assert b"/v1" + query_for(head, query, False) == target


def test_a_key_is_not_in_the_repr_of_a_credential() -> None:
    head = read_head("GET", b"/", "1.1", [(b"Authorization", b"Bearer sk-secret")])
    assert "sk-secret" not in repr(head.credentials)


@pytest.mark.parametrize(
    ("headers", "upgrade"),
    [
        ([(b"Connection", b"Upgrade"), (b"Upgrade", b"WebSocket")], b"websocket"),
        ([(b"Connection", b"keep-alive, Upgrade"), (b"Upgrade", b"websocket")], b"websocket"),
        ([(b"Upgrade", b"websocket")], b""),
        ([(b"Connection", b"Upgrade"), (b"Upgrade", b"h2c")], b""),
        ([(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"), (b"Content-Length", b"3")], b""),
    ],
)
def test_only_a_websocket_that_connection_names_is_an_upgrade(headers: list[Header], upgrade: bytes) -> None:
    assert read_head("GET", b"/", "1.1", headers).upgrade == upgrade


@pytest.mark.parametrize(
    "headers",
    [
        [(b"Content-Length", b"1"), (b"content-length", b"1")],
        [(b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")],
        [(b"Transfer-Encoding", b"gzip")],
        [(b"Transfer-Encoding", b"chunked"), (b"Transfer-Encoding", b"chunked")],
        [(b"Host", b"a"), (b"Host", b"a")],
    ],
)
def test_two_ways_to_read_are_one_too_many(headers: list[Header]) -> None:
    with pytest.raises(MalformedHead):
        read_head("POST", b"/", "1.1", headers)


def test_an_answer_with_chunks_and_a_length_keeps_the_chunks() -> None:
    head = read_response_head(200, b"OK", [(b"Content-Length", b"3"), (b"Transfer-Encoding", b"chunked")])
    assert (head.is_chunked, head.content_length, head.lines) == (True, None, [])


@pytest.mark.parametrize("headers", [[(b"Content-Length", b"3"), (b"Content-Length", b"4")], [(b"Transfer-Encoding", b"br")]])
def test_an_answer_without_a_certain_end_is_refused(headers: list[Header]) -> None:
    with pytest.raises(MalformedHead):
        read_response_head(200, b"OK", headers)


def test_other_lines_leave_all_else_of_a_head_as_it_is() -> None:
    names = [each.name for each in fields(RequestHead)]
    head = RequestHead(*names)  # type: ignore[arg-type]  # each field holds its own name
    other = head.with_headers([(b"a", b"1")], [(b"b", b"2")], {b"user": b"u"})
    changed = {"headers": [(b"a", b"1")], "forwarded": [(b"b", b"2")], "labels": {b"user": b"u"}}
    assert {name: getattr(other, name) for name in names} == {name: changed.get(name, name) for name in names}
