"""The listening sockets: made by the parent and inherited, so that what waits in the queue of a dead worker is answered by
its successor."""

from __future__ import annotations

import socket

BACKLOG = 4096


def listening_sockets(host: str, port: int, count: int) -> list[socket.socket]:
    """One listening socket per worker on the same address; the kernel spreads connections over them.

    Raises:
        OSError: the address is in use (also by another instance of this program) or not ours.
    """
    family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)  # without SO_REUSEPORT: two instances must not share a port unseen
        address = (address[0], probe.getsockname()[1], *address[2:])
    sockets: list[socket.socket] = []
    try:
        for _ in range(count):
            listener = socket.socket(family)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if count > 1:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind(address)
            listener.listen(BACKLOG)
    except OSError:
        for listener in sockets:
            listener.close()
        raise
    return sockets
