"""The child's end of the socket pair, and the words that travel over it.

child → parent   ready    it serves
parent → child   stop     finish what runs, then end; the closed socket of a dead parent means the same
                 alone    the process whose place you took has ended: all it did is in the spool
"""

from __future__ import annotations

import asyncio
import signal
import socket

PARENTS_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What the parent alone decides on; process.py starts children with these blocked."""


READY, STOP, ALONE = b"ready\n", b"stop\n", b"alone\n"


class ChildLink:
    """Made as soon as the loop runs, so that a stop, or the parent's end, is heard while the child still starts."""

    def __init__(self, fd: int | None) -> None:
        """
        Args:
            fd: inherited from the parent; None where a child is run by hand.
        """
        self._socket = socket.socket(fileno=fd) if fd is not None else None
        self.stopping = asyncio.Event()
        self.alone = asyncio.Event()
        """Set once for each predecessor that has ended; whoever waits for it clears it."""
        self._listening: asyncio.Task[None] | None = None
        if self._socket is not None:
            self._socket.setblocking(False)
            self._listening = asyncio.get_running_loop().create_task(self._listen(self._socket))

    def ready(self) -> None:
        """Tell the parent."""
        if self._socket is not None:
            try:
                self._socket.send(READY)
            except OSError:
                self.stopping.set()  # there is no parent any more

    async def _listen(self, link: socket.socket) -> None:
        heard = b""
        while STOP not in heard:
            try:
                words = await asyncio.get_running_loop().sock_recv(link, 64)
            except OSError:
                words = b""  # as good as closed
            if not words:
                break
            heard += words
            if ALONE in heard:
                heard = heard.replace(ALONE, b"")
                self.alone.set()
        self.stopping.set()


def ignore_terminal_signals() -> None:
    """Ctrl-C, a closed terminal and a signal to the whole group reach the parent, which stops its children in order."""
    for number in PARENTS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENTS_SIGNALS)
