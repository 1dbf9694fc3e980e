"""Content-encodings undone in any cut, stacked, damaged, and as bombs."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib

import brotli
import pytest

from proxy.usage.decoding import BOMB_BYTES, STEP_BYTES, ContentDecoder, zstd

TEXT = b"".join(b'data: {"n":%d,"text":"%x"}\n\n' % (number, random.Random(number).getrandbits(64)) for number in range(900))


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


PACKERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "identity": bytes,
    "": bytes,
    "deflate, gzip": lambda body: gzip.compress(zlib.compress(body)),
    "br, identity, zstd": lambda body: zstd.compress(brotli.compress(body)),
}


def undo(decoder, body, step):
    return b"".join(b"".join(decoder.decode(body[at : at + step])) for at in range(0, len(body), step))


@pytest.mark.parametrize("encoding", PACKERS)
@pytest.mark.parametrize("step", [1, 7, 1000, 10**9])
def test_any_cut_gives_the_same_bytes(encoding, step):
    decoder = ContentDecoder(encoding)
    assert undo(decoder, PACKERS[encoding](TEXT), step) == TEXT
    assert decoder.blind_reason is None
    assert decoder.is_identity == (encoding in ("identity", ""))


@pytest.mark.parametrize("step", [1, 7, 10**9])
def test_deflate_without_its_wrapper(step):
    assert undo(ContentDecoder("deflate"), raw_deflate(TEXT), step) == TEXT


@pytest.mark.parametrize("step", [1, 11, 10**9])
def test_several_members_are_one_body(step):
    assert undo(ContentDecoder("gzip"), gzip.compress(TEXT) + gzip.compress(b"end") + b"\0\0", step) == TEXT + b"end"
    assert undo(ContentDecoder("zstd"), zstd.compress(TEXT) + zstd.compress(b"end"), step) == TEXT + b"end"


def test_flushed_pieces_come_out_at_once():
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    decoder = ContentDecoder("gzip")
    for number in range(5):
        piece = b"data: %d\n\n" % number
        assert b"".join(decoder.decode(packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH))) == piece


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "br, gzip"])
@pytest.mark.parametrize("seed", range(20))
def test_damage_never_raises_and_is_told(encoding, seed):
    chance = random.Random(seed)
    body = bytearray(PACKERS.get(encoding, lambda body: gzip.compress(brotli.compress(body)))(TEXT))
    for _ in range(30):
        body[chance.randrange(len(body))] = chance.randrange(256)
    decoder = ContentDecoder(encoding)
    out = undo(decoder, bytes(body), 500)
    assert out != TEXT
    assert decoder.blind_reason or len(out) < len(TEXT) + 10**6


def test_plain_body_under_a_compressed_name_is_damage():
    decoder = ContentDecoder("gzip")
    assert undo(decoder, b'{"usage":{}}', 5) == b""
    assert "damaged" in decoder.blind_reason


@pytest.mark.parametrize("encoding", ["dcb", "gzip, sdch", "gzip," * 9 + "gzip"])
def test_unknown_encoding_is_blind_from_the_start(encoding):
    decoder = ContentDecoder(encoding)
    assert decoder.blind_reason
    assert not decoder.is_identity
    assert undo(decoder, b"anything", 3) == b""


@pytest.mark.parametrize("encoding", ["gzip", "br", "zstd", "gzip, gzip"])
def test_a_bomb_is_given_up_and_never_held_in_memory(encoding):
    flat = b"\0" * (BOMB_BYTES + (8 << 20))
    packers = {"gzip, gzip": lambda flat: gzip.compress(gzip.compress(flat)), "br": lambda flat: brotli.compress(flat, quality=3)}
    body = (PACKERS | packers)[encoding](flat)
    del flat
    decoder = ContentDecoder(encoding)
    tracemalloc.start()
    largest = max(len(piece) for piece in decoder.decode(body))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert largest <= 2 * STEP_BYTES
    assert peak < 8 << 20
    assert "times" in decoder.blind_reason
