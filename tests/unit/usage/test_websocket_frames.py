"""RFC 6455 frames and RFC 7692 compression, written by the websockets library and cut at every byte."""

from __future__ import annotations

import itertools
import random
import zlib

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from proxy.usage import websocket_frames
from proxy.usage.websocket_frames import FrameReader, close_frame, deflate_of, text_frame

TEXTS = [
    b"",
    b"{}",
    b'{"type":"response.done"}' * 5,
    "ü🙂".encode() * 40,
    bytes(range(256)) * 300,
    b"x" * 125,
    b"y" * 126,
    b"z" * 65_536,
]


def frames_of(texts: list[bytes], *, mask: bool = False, compressor: PerMessageDeflate | None = None, pieces: int = 1) -> bytes:
    """Each text as one message of so many fragments, with a ping between any two frames."""
    rng = random.Random(7)
    out = []
    extensions = [compressor] if compressor else []
    for text in texts:
        cuts = sorted(rng.randint(0, len(text)) for _ in range(pieces - 1))
        parts = [text[a:b] for a, b in itertools.pairwise([0, *cuts, len(text)])]
        for number, part in enumerate(parts):
            frame = Frame(Opcode.TEXT if number == 0 else Opcode.CONT, part, fin=number == len(parts) - 1)
            out.append(frame.serialize(mask=mask, extensions=extensions))
            out.append(Frame(Opcode.PING, b"are you there").serialize(mask=mask))
    return b"".join(out)


def compressor(keeps_context: bool, window_bits: int = 15) -> PerMessageDeflate:
    return PerMessageDeflate(not keeps_context, not keeps_context, window_bits, window_bits, {"level": 6})


def read(chunks: list[bytes], **options: bool) -> list[bytes]:
    reader = FrameReader(**options)
    messages = [message for chunk in chunks for message in reader.feed(chunk)]
    assert reader.error is None
    assert reader.is_at_boundary
    return messages


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_plain_messages(mask: bool, pieces: int) -> None:
    wire = frames_of(TEXTS, mask=mask, pieces=pieces)
    assert read([wire]) == TEXTS
    for seed in range(20):
        cuts = sorted(random.Random(seed).sample(range(len(wire)), 12))
        assert read([wire[a:b] for a, b in itertools.pairwise([0, *cuts, len(wire)])]) == TEXTS


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("keeps_context", [False, True])
@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("window_bits", [9, 15])
def test_compressed_messages(mask: bool, keeps_context: bool, pieces: int, window_bits: int) -> None:
    wire = frames_of(TEXTS, mask=mask, compressor=compressor(keeps_context, window_bits), pieces=pieces)
    assert read([wire], deflate=True, keeps_context=keeps_context) == TEXTS
    assert read([wire[i : i + 1] for i in range(len(wire))], deflate=True, keeps_context=keeps_context) == TEXTS


@pytest.mark.parametrize("mask", [False, True])
def test_byte_by_byte(mask: bool) -> None:
    wire = frames_of(TEXTS[:4], mask=mask, pieces=3)
    assert read([wire[i : i + 1] for i in range(len(wire))]) == TEXTS[:4]
    for cut in range(len(wire)):
        assert read([wire[:cut], wire[cut:]]) == TEXTS[:4]


def test_a_message_may_be_sent_plain_where_compression_was_agreed() -> None:
    packer = compressor(True)
    wire = frames_of([b"one" * 50], compressor=packer) + frames_of([b"two"]) + frames_of([b"one" * 50], compressor=packer)
    assert read([wire], deflate=True) == [b"one" * 50, b"two", b"one" * 50]


def test_the_boundary_is_known() -> None:
    wire = Frame(Opcode.TEXT, b"hello", fin=False).serialize(mask=False) + Frame(Opcode.CONT, b"!").serialize(mask=False)
    reader = FrameReader()
    known = []
    for i in range(len(wire)):
        reader.feed(wire[i : i + 1])
        known.append(reader.is_at_boundary)
    assert [i for i, is_known in enumerate(known) if is_known] == [6, 9]


def test_a_large_message_is_dropped_and_the_next_one_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_frames, "MAX_MESSAGE_BYTES", 1000)
    rng = random.Random(1)
    texts = [b"small", rng.randbytes(5000), b"small again"]
    for packer in (None, compressor(True)):
        wire = frames_of(texts, compressor=packer)
        for size in (1, 7, len(wire)):
            reader = FrameReader(deflate=packer is not None)
            got = [message for i in range(0, len(wire), size) for message in reader.feed(wire[i : i + size])]
            assert (got, reader.dropped_messages, reader.error) == ([b"small", b"small again"], 1, None)
            packer = packer and compressor(True)
            wire = frames_of(texts, compressor=packer)


def test_a_bomb_ends_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_frames, "MAX_INFLATED_BYTES", 1_000_000)
    wire = frames_of([b"\x00" * 5_000_000, b"after"], compressor=compressor(True))
    reader = FrameReader(deflate=True)
    assert reader.feed(wire) == []
    assert reader.error is not None


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 131_072, 300_000])
def test_output_that_fills_a_piece_exactly(size: int) -> None:
    texts = [b"a" * size, b"next", random.Random(size).randbytes(size), b"last"]
    wire = frames_of(texts, compressor=compressor(True))
    assert read([wire], deflate=True) == texts


@pytest.mark.parametrize(
    "wire",
    [
        b"\x83\x00",  # a reserved opcode
        b"\xc1\x00",  # compressed, not agreed
        b"\x80\x00",  # goes on with nothing
        b"\x01\x00\x01\x00",  # a second message inside the first
        b"\x09\x00",  # a control frame in fragments
        b"\x89\x7e\x00\x80" + b"x" * 128,  # a control frame too long
        b"\xa1\x00",
        b"\x82\x7f" + b"\xff" * 8,
        b"HTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_what_is_no_frame_ends_the_reading(wire: bytes) -> None:
    for chunks in ([wire], [wire[i : i + 1] for i in range(len(wire))]):
        reader = FrameReader()
        assert [message for chunk in chunks for message in reader.feed(chunk)] == []
        assert reader.error is not None
        assert reader.feed(b"\x81\x01x") == []


def test_garbage_instead_of_deflate_ends_the_reading() -> None:
    reader = FrameReader(deflate=True)
    assert reader.feed(b"\xc1\x04\xff\xff\xff\xff") == []
    assert reader.error is not None


def test_a_close_is_remembered() -> None:
    for mask in (False, True):
        wire = Frame(Opcode.CLOSE, (1011).to_bytes(2, "big") + "zu spät".encode()).serialize(mask=mask)
        reader = FrameReader()
        for i in range(len(wire)):
            reader.feed(wire[i : i + 1])
        assert (reader.close_code, reader.close_reason) == (1011, "zu spät")
    reader = FrameReader()
    reader.feed(b"\x88\x00")
    assert reader.close_code is None


@pytest.mark.parametrize(
    ("extensions", "agreed"),
    [
        ("", (False, True, True)),
        ("permessage-deflate", (True, True, True)),
        ("x-other, permessage-deflate; server_no_context_takeover", (True, False, True)),
        ("Permessage-Deflate;client_no_context_takeover; server_max_window_bits=12", (True, True, False)),
        ("x-webkit-deflate-frame", (False, True, True)),
    ],
)
def test_what_was_agreed(extensions: str, agreed: tuple[bool, bool, bool]) -> None:
    assert deflate_of(extensions) == agreed


def test_frames_of_ours() -> None:
    assert close_frame(1008, "over") == b"\x88\x06\x03\xf0over"
    long = close_frame(1008, "ü" * 100)
    assert len(long) == 2 + 2 + 122  # 123 bytes of room, and no half character
    reader = FrameReader()
    reader.feed(long)
    assert (reader.error, reader.close_code, reader.close_reason) == (None, 1008, "ü" * 61)
    for size in (0, 125, 126, 65_535, 65_536):
        assert read([text_frame(b"x" * size)]) == [b"x" * size]


def test_random_bytes_never_raise() -> None:
    rng = random.Random(3)
    for _ in range(300):
        reader = FrameReader(deflate=rng.random() < 0.5)
        for _ in range(6):
            reader.feed(rng.randbytes(rng.randint(0, 80)))
    assert zlib.MAX_WBITS == 15
