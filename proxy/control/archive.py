"""A ZIP file that is sent while it is made, in constant memory."""

from __future__ import annotations

import asyncio
import zipfile
from collections.abc import AsyncIterator, Iterable

Member = tuple[str, AsyncIterator[bytes]]


class _Pipe:
    """What is written to it is taken out again in pieces. It cannot seek, and so the archive says sizes behind each file."""

    def __init__(self) -> None:
        self._parts = bytearray()

    def write(self, part: bytes) -> int:
        self._parts += part
        return len(part)

    def flush(self) -> None:
        """Nothing waits anywhere else."""

    def take(self) -> bytes:
        taken = bytes(self._parts)
        self._parts.clear()
        return taken


async def zip_chunks(members: Iterable[Member]) -> AsyncIterator[bytes]:
    """The archive's bytes. Compression is off the loop: a piece of 64 KiB takes it a millisecond."""
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, content in members:
            with archive.open(name, "w", force_zip64=True) as file:
                async for part in content:
                    await asyncio.to_thread(file.write, part)
                    if taken := pipe.take():
                        yield taken
    yield pipe.take()
