"""WebSocket frames to messages (RFC 6455), also compressed ones (RFC 7692), for the meter's copy of one direction.

Rules of this file: any chunking gives the same messages; memory is bounded (a message past the bound is dropped and counted,
its bytes still run through the decompressor, whose window the next message needs); a violation stops the reading, never raises.
"""

from __future__ import annotations

import zlib

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest message kept. Messages with usage are a few KB; audio comes in pieces of at most 15 MB, which nobody reads here."""
MAX_INFLATED_BYTES = 64 * 1024 * 1024
"""What one compressed message may grow to before it is taken for an attack and the reading ends."""
CLOSE_POLICY_VIOLATION = 1008
CLOSE_GOING_AWAY = 1001

_CONTINUATION, _TEXT, _BINARY, _CLOSE = 0x0, 0x1, 0x2, 0x8
_MAX_CONTROL_BYTES = 125
_PIECE_BYTES = 65_536
_DEFLATE_TAIL = b"\x00\x00\xff\xff"


class FrameReader:
    """Reads one direction. `is_at_boundary` says whether a frame of ours could be put in here."""

    __slots__ = (
        "_control",
        "_fin",
        "_head",
        "_inflated_bytes",
        "_inflater",
        "_is_compressed",
        "_is_dropped",
        "_keeps_context",
        "_left",
        "_mask",
        "_mask_offset",
        "_message",
        "_opcode",
        "_parts",
        "close_code",
        "close_reason",
        "dropped_messages",
        "error",
    )

    def __init__(self, deflate: bool = False, keeps_context: bool = True) -> None:
        self.error: str | None = None
        self.dropped_messages = 0
        self.close_code: int | None = None
        self.close_reason = ""
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS) if deflate else None
        self._keeps_context = keeps_context
        self._head = b""  # the beginning of a frame head
        self._left = -1  # payload bytes still to come; -1: between frames
        self._fin = True
        self._opcode = 0
        self._mask = b""
        self._mask_offset = 0
        self._message = 0  # opcode of the message being read; 0: none
        self._is_compressed = False
        self._is_dropped = False
        self._parts: list[bytes] = []
        self._inflated_bytes = 0
        self._control = b""

    @property
    def is_at_boundary(self) -> bool:
        """Between two frames (perhaps between two fragments: control frames may stand there)."""
        return self._left < 0 and not self._head

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that this chunk completed."""
        messages: list[bytes] = []
        if self.error is not None:
            return messages
        if self._head:
            data, self._head = self._head + data, b""
        at, size = 0, len(data)
        while at < size:
            if self._left < 0:
                begin = self._read_head(data, at)
                if begin < 0:
                    if self.error is None:
                        self._head = data[at:]
                    return messages
                at = begin
            take = min(self._left, size - at)
            if take:
                self._take(data[at : at + take])
                at += take
                self._left -= take
            if self._left == 0:
                self._left = -1
                self._end_frame(messages)
            if self.error is not None:
                return messages
        return messages

    def _read_head(self, data: bytes, at: int) -> int:
        """Read a frame head at `at`; where its payload begins, or -1 where the head is not complete (or wrong)."""
        have = len(data) - at
        if have < 2:
            return -1
        first, second = data[at], data[at + 1]
        length, end = second & 0x7F, at + 2
        if length == 126:
            end += 2
        elif length == 127:
            end += 8
        is_masked = second & 0x80
        if len(data) < end + (4 if is_masked else 0):
            return -1
        if length >= 126:
            length = int.from_bytes(data[at + 2 : end], "big")
        opcode, rsv = first & 0x0F, first & 0x70
        if not self._is_allowed(opcode, rsv, length, bool(first & 0x80)):
            return -1
        self._mask = data[end : end + 4] if is_masked else b""
        self._mask_offset = 0
        self._fin, self._opcode, self._left = bool(first & 0x80), opcode, length
        if opcode in (_TEXT, _BINARY):
            self._message, self._is_compressed = opcode, bool(rsv)
            self._is_dropped, self._inflated_bytes = False, 0
            self._parts = []
        return end + 4 if is_masked else end

    def _is_allowed(self, opcode: int, rsv: int, length: int, fin: bool) -> bool:
        if opcode >= _CLOSE:
            good = fin and length <= _MAX_CONTROL_BYTES and not rsv
        elif opcode == _CONTINUATION:
            good = self._message != 0 and not rsv
        else:
            good = opcode in (_TEXT, _BINARY) and self._message == 0 and (not rsv or (rsv == 0x40 and self._inflater is not None))
        if not good or length >> 63:
            self.error = f"not a WebSocket frame: opcode {opcode:#x}, reserved bits {rsv:#x}, {length} bytes"
            return False
        return True

    def _take(self, piece: bytes) -> None:
        """A piece of the payload of the frame being read."""
        if self._opcode >= _CLOSE:
            self._control += self._unmasked(piece)
        elif self._is_compressed:
            self._inflate(self._unmasked(piece))
        elif not self._is_dropped:
            self._keep(self._unmasked(piece) if self._mask else piece)

    def _unmasked(self, piece: bytes) -> bytes:
        if not self._mask:
            return piece
        offset = self._mask_offset & 3
        self._mask_offset += len(piece)
        size = len(piece)
        key = (self._mask[offset:] + self._mask[:offset]) * (size // 4 + 1)
        return (int.from_bytes(piece, "big") ^ int.from_bytes(key[:size], "big")).to_bytes(size, "big")

    def _keep(self, piece: bytes) -> None:
        self._inflated_bytes += len(piece)
        if self._inflated_bytes > MAX_MESSAGE_BYTES:
            self._is_dropped = True
            self._parts = []
        elif not self._is_dropped:
            self._parts.append(piece)

    def _inflate(self, piece: bytes) -> None:
        assert self._inflater is not None
        try:
            inflated = b""
            while piece or len(inflated) == _PIECE_BYTES:  # a full piece of output may leave some behind without any input
                inflated = self._inflater.decompress(piece, _PIECE_BYTES)
                self._keep(inflated)
                piece = self._inflater.unconsumed_tail
                if self._inflated_bytes > MAX_INFLATED_BYTES:
                    self.error = f"a compressed message of more than {MAX_INFLATED_BYTES} bytes"
                    return
        except zlib.error as error:
            self.error = f"a compressed message that cannot be inflated: {error}"

    def _end_frame(self, messages: list[bytes]) -> None:
        if self._opcode >= _CLOSE:
            control, self._control = self._control, b""
            if self._opcode == _CLOSE and len(control) >= 2:
                self.close_code = int.from_bytes(control[:2], "big")
                self.close_reason = control[2:].decode("utf-8", "replace")
            return
        if not self._fin:
            return
        if self._is_compressed:
            self._inflate(_DEFLATE_TAIL)
            if self.error is not None:
                return
            if not self._keeps_context:
                self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._message = 0
        if self._is_dropped:
            self.dropped_messages += 1
        else:
            messages.append(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
        self._parts = []


def deflate_of(extensions: str) -> tuple[bool, bool, bool]:
    """What a 101's `sec-websocket-extensions` agreed on: compressed? does the server keep its context? does the client?"""
    for extension in extensions.split(","):
        name, *parameters = [word.strip().lower() for word in extension.split(";")]
        if name == "permessage-deflate":
            return True, "server_no_context_takeover" not in parameters, "client_no_context_takeover" not in parameters
    return False, True, True


def close_frame(code: int, reason: str) -> bytes:
    """A server's close frame (unmasked); the reason is cut to what a control frame holds."""
    text = reason.encode("utf-8", "replace")[: _MAX_CONTROL_BYTES - 2].decode("utf-8", "ignore").encode()
    return bytes([0x80 | _CLOSE, len(text) + 2]) + code.to_bytes(2, "big") + text


def text_frame(text: bytes) -> bytes:
    """A server's text frame (unmasked, whole, not compressed)."""
    size = len(text)
    if size < 126:
        return bytes([0x80 | _TEXT, size]) + text
    if size < 65_536:
        return bytes([0x80 | _TEXT, 126]) + size.to_bytes(2, "big") + text
    return bytes([0x80 | _TEXT, 127]) + size.to_bytes(8, "big") + text
