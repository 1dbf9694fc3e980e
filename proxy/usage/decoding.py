"""Content-encoding undone, step by step, for the meter's copy only; what the client gets is never touched.

gzip, deflate (with zlib's wrapper, as the RFC says, and raw, as some servers send it), br, zstd, identity, and stacks of
these (RFC 9110 §8.4: listed in the order applied). Nothing raises: damage ends the decoding and `blind_reason` says why.
Every step gives at most STEP_BYTES, and a body that grows beyond all reason (a decompression bomb) is given up.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

STEP_BYTES = 64 << 10
MAX_CODINGS = 4
BOMB_BYTES = 64 << 20
BOMB_RATIO = 400
"""Beyond BOMB_BYTES, more than this many bytes out for one in is no answer of a model (repetitive SSE reaches about 40)."""


class _Coding(Protocol):
    def pieces(self, chunk: bytes) -> Iterator[bytes]: ...


class _Zlib:
    """gzip (several members in a row are one body, RFC 1952 §2.2) and both kinds of deflate."""

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._stream = zlib.decompressobj(window_bits) if window_bits else None

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        if self._stream is None:  # deflate: the first byte tells (RFC 1950: low four bits are 8)
            self._window_bits = zlib.MAX_WBITS if chunk[0] & 0x0F == 8 else -zlib.MAX_WBITS
            self._stream = zlib.decompressobj(self._window_bits)
        while True:
            piece = self._stream.decompress(chunk, STEP_BYTES)
            if piece:
                yield piece
            if self._stream.eof:
                chunk = self._stream.unused_data
                if not chunk or not chunk.strip(b"\0"):  # padding after the last member
                    return
                self._stream = zlib.decompressobj(self._window_bits)
                continue
            chunk = self._stream.unconsumed_tail
            if not chunk and len(piece) < STEP_BYTES:
                return


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        while True:
            piece = self._stream.process(chunk, output_buffer_limit=STEP_BYTES)
            chunk = b""
            if piece:
                yield piece
            if self._stream.is_finished() or self._stream.can_accept_more_data():
                return


class _Zstd:
    """zstd; frames may follow each other (RFC 8878 §3)."""

    def __init__(self) -> None:
        self._stream = zstd.ZstdDecompressor()

    def pieces(self, chunk: bytes) -> Iterator[bytes]:
        if self._stream.eof:  # the frame before ended exactly where its chunk did
            self._stream = zstd.ZstdDecompressor()
        while True:
            piece = self._stream.decompress(chunk, STEP_BYTES)
            if piece:
                yield piece
            if self._stream.eof:
                chunk = self._stream.unused_data
                if not chunk:
                    return
                self._stream = zstd.ZstdDecompressor()
            elif self._stream.needs_input:
                return
            else:
                chunk = b""


_CODINGS: dict[str, Callable[[], _Coding]] = {
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "deflate": lambda: _Zlib(0),
    "br": _Brotli,
    "zstd": _Zstd,
}
_DAMAGE = (zlib.error, brotli.error, zstd.ZstdError, EOFError, ValueError, IndexError, MemoryError)


class ContentDecoder:
    """Undoes one content-encoding header. `blind_reason` is None as long as everything could be read."""

    __slots__ = ("_bytes_in", "_bytes_out", "_codings", "blind_reason")

    def __init__(self, content_encoding: str) -> None:
        names = [name.strip().lower() for name in content_encoding.split(",")]
        names = [name for name in names if name not in ("", "identity")]
        unknown = [name for name in names if name not in _CODINGS]
        self.blind_reason: str | None = None
        if unknown or len(names) > MAX_CODINGS:
            self.blind_reason = f"content-encoding {content_encoding[:80]!r} is not known"
            names = []
        self._codings = [_CODINGS[name]() for name in reversed(names)]
        self._bytes_in = self._bytes_out = 0

    @property
    def is_identity(self) -> bool:
        """Whether bytes pass as they are, so that decode() need not be called."""
        return not self._codings and self.blind_reason is None

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """The plain bytes of a chunk, in pieces of at most STEP_BYTES (a chunk that is not encoded passes whole)."""
        if self.blind_reason or not chunk:
            return
        self._bytes_in += len(chunk)
        try:
            for piece in self._through(0, chunk):
                self._bytes_out += len(piece)
                if self._bytes_out > BOMB_BYTES and self._bytes_out > BOMB_RATIO * self._bytes_in:
                    self.blind_reason = f"the body grows more than {BOMB_RATIO} times when decoded"
                    return
                yield piece
        except _DAMAGE as error:
            self.blind_reason = f"content-encoding is damaged: {error}"[:200]

    def _through(self, depth: int, chunk: bytes) -> Iterator[bytes]:
        if depth == len(self._codings):
            yield chunk
            return
        for piece in self._codings[depth].pieces(chunk):
            yield from self._through(depth + 1, piece)
