"""What the kernel knows of a connection and asyncio does not tell: is it reset, what of the written is still under way.

Linux; where a question cannot be asked (another system, a closed socket) the answer is the harmless one.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios

_TCP_INFO = getattr(socket, "TCP_INFO", None)
_TCP_CLOSE = 7
"""First byte of tcp_info: the connection is no more."""
_OUTQ = getattr(termios, "TIOCOUTQ", None)


def is_reset(transport: asyncio.Transport) -> bool:
    """Whether the peer has answered what was written to it with a reset. Needed where nobody reads the socket any more."""
    opened = transport.get_extra_info("socket")
    if opened is None or _TCP_INFO is None or opened.family == socket.AF_UNIX:
        return False
    try:
        return bool(opened.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] == _TCP_CLOSE)
    except OSError:
        return True


def unsent_bytes(transport: asyncio.Transport) -> int:
    """Bytes written and not yet taken by the peer: in this process, and in the kernel's queue (which is megabytes long)."""
    size = transport.get_write_buffer_size()
    opened = transport.get_extra_info("socket")
    if opened is None or _OUTQ is None:
        return size
    try:
        return size + int(struct.unpack("i", fcntl.ioctl(opened.fileno(), _OUTQ, b"\0\0\0\0"))[0])
    except OSError:
        return size


def reset_on_close(transport: asyncio.Transport) -> None:
    """Let the connection end with a reset: a FIN would be the good end of an answer without length or chunks."""
    opened = transport.get_extra_info("socket")
    if opened is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
