"""muxado, the multiplexing protocol between ngrok's agents and its service. The service's side.

Every wire fact here comes from the public libraries github.com/ngrok/muxado-go ("muxado-go" below)
and github.com/ngrok/ngrok-rust, folder muxado ("muxado-rs"). All integers are big-endian.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import struct
from collections.abc import Awaitable, Callable

log = logging.getLogger("edge")

# Header: 24-bit body length, type in the high nibble and flags in the low one, 32-bit stream id
# (muxado-go: frame/frame.go).
HEADER = struct.Struct(">I I")
WORD = struct.Struct(">I")

FIN = 0x1
# muxado-rs: src/frame.rs. Its PROTOCOL.md says 0x10, which no implementation sends.
SYN = 0x2

# Each direction of each stream starts with this much credit; nothing negotiates it, and there is no
# window for the session as a whole (muxado-go, muxado-rs).
WINDOW = 0x40000
# Largest body we send. The protocol allows 0xFFFFFF; smaller frames let streams take turns.
CHUNK = 0x8000


class Frame(enum.IntEnum):
    """Frame types (muxado-go: frame/frame.go)."""

    RST = 0
    DATA = 1
    WNDINC = 2
    GOAWAY = 3


class Code(enum.IntEnum):
    """Error codes of RST and GOAWAY (muxado-go: errors.go)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    STREAM_CLOSED = 4
    STREAM_CANCELLED = 6


class MuxadoError(Exception):
    """The stream or its session ended before its time."""


class Stream:
    """One stream of a session, with credit in both directions."""

    def __init__(self, session: Session, number: int) -> None:
        self.number = number
        self._session = session
        self._buffer = bytearray()
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._credit = WINDOW
        self._credit_of_peer = WINDOW
        self._finished = False
        self._finished_by_peer = False
        self._error: MuxadoError | None = None

    async def read(self, limit: int = CHUNK) -> bytes:
        """What has arrived, at most ``limit`` bytes; nothing at the end of the stream.

        Bytes that came before a reset are still handed out.
        """
        await self._readable.wait()
        chunk = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        if self._error and not chunk:
            raise self._error
        if not self._over_for_reader():
            if not self._buffer:
                self._readable.clear()
            # Credit is given back for bytes consumed, not for bytes received (muxado-go).
            self._credit_of_peer += len(chunk)
            self._session.send(Frame.WNDINC, 0, self.number, WORD.pack(len(chunk)))
        return chunk

    async def read_exactly(self, size: int) -> bytes:
        """``size`` bytes, or MuxadoError when the stream ends before."""
        data = b""
        while len(data) < size:
            chunk = await self.read(size - len(data))
            if not chunk:
                raise MuxadoError(f"stream {self.number} ended early")
            data += chunk
        return data

    async def write(self, data: bytes) -> None:
        """Send ``data``, waiting for the peer's credit and for the connection."""
        while data:
            while not self._credit and not self._error:
                self._writable.clear()
                await self._writable.wait()
            if self._error:
                raise self._error
            size = min(len(data), self._credit, CHUNK)
            self._credit -= size
            self._session.send(Frame.DATA, 0, self.number, data[:size])
            data = data[size:]
            await self._session.drain()

    def finish(self) -> None:
        """Say that nothing more will be written. An empty FIN costs no credit."""
        if not self._finished and not self._error:
            self._finished = True
            self._session.send(Frame.DATA, FIN, self.number)
            self._session.prune(self)

    def reset(self, code: Code = Code.STREAM_CANCELLED) -> None:
        """Give the stream up, unless it is over anyway."""
        if not self._error and not self.over:
            self._session.send(Frame.RST, 0, self.number, WORD.pack(code))
        self.fail(MuxadoError(f"stream {self.number} was given up: {code.name}"))

    @property
    def over(self) -> bool:
        """Both sides have sent FIN, or one has reset the stream."""
        return bool(self._error) or (self._finished and self._finished_by_peer)

    def fail(self, error: MuxadoError) -> None:
        """End the stream here; readers and writers learn why."""
        self._error = self._error or error
        self._readable.set()
        self._writable.set()
        self._session.prune(self)

    def receive(self, data: bytes, flags: int) -> None:
        """Take in a DATA frame."""
        self._credit_of_peer -= len(data)
        if self._credit_of_peer < 0:
            self.reset(Code.FLOW_CONTROL_ERROR)
            return
        self._buffer += data
        if flags & FIN:
            self._finished_by_peer = True
            self._session.prune(self)
        if self._buffer or self._finished_by_peer:
            self._readable.set()

    def add_credit(self, size: int) -> None:
        """Take in a WNDINC frame."""
        self._credit += size
        self._writable.set()

    def _over_for_reader(self) -> bool:
        return self._finished_by_peer or self._error is not None


# Called with the stream's type word for each stream that the agent opens.
Accept = Callable[[int, Stream], Awaitable[None]]


class Session:
    """The service's end of one agent's connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, accept: Accept
    ) -> None:
        self.closed = False
        self._reader = reader
        self._writer = writer
        self._accept = accept
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Stream ids of the service are even, first 2; those of the agent odd, first 3
        # (muxado-go: session.go).
        self._last_number = 0
        self._last_number_of_peer = 0

    async def run(self) -> None:
        """Serve the connection until it ends."""
        try:
            while await self._receive():
                pass
        except (OSError, EOFError):
            pass
        except MuxadoError as exc:
            log.warning("a session broke the protocol: %s", exc)
            self.close(Code.PROTOCOL_ERROR)
        finally:
            self.close()

    async def open(self, kind: int) -> Stream:
        """Open a stream of a type.

        The type word goes out in one frame with SYN, because agents read it with one Read
        (muxado-go: typed_stream.go).
        """
        if self.closed:
            raise MuxadoError("session closed")
        self._last_number += 2
        stream = self._streams[self._last_number] = Stream(self, self._last_number)
        self.send(Frame.DATA, SYN, stream.number, WORD.pack(kind))
        stream.add_credit(-WORD.size)
        return stream

    def close(self, code: Code = Code.NO_ERROR) -> None:
        """End the session: GOAWAY, and the connection right after it.

        The agent's GOAWAY reader waits for more bytes than there are, so only the end of the
        connection wakes it (muxado-go: frame/goaway.go).
        """
        if self.closed:
            return
        self.send(Frame.GOAWAY, 0, 0, WORD.pack(self._last_number_of_peer) + WORD.pack(code))
        self.closed = True
        self._writer.close()
        for stream in list(self._streams.values()):
            stream.fail(MuxadoError("session closed"))
        for task in self._tasks:
            task.cancel()

    def send(self, kind: Frame, flags: int, number: int, body: bytes = b"") -> None:
        """Queue one frame."""
        if not self.closed:
            first = len(body) << 8 | kind << 4 | flags
            self._writer.write(HEADER.pack(first, number) + body)

    async def drain(self) -> None:
        """Wait until the connection has taken most of what was queued."""
        try:
            await self._writer.drain()
        except OSError as exc:
            raise MuxadoError(f"session closed: {exc}") from exc

    def prune(self, stream: Stream) -> None:
        """Forget a stream that is over."""
        if stream.over:
            self._streams.pop(stream.number, None)

    async def _receive(self) -> bool:
        first, number = HEADER.unpack(await self._reader.readexactly(HEADER.size))
        kind, flags = first >> 4 & 0xF, first & 0xF
        if kind == Frame.GOAWAY:
            # Never read its body: muxado-rs gives a length that is 8 bytes short.
            return False
        body = await self._reader.readexactly(first >> 8)
        stream = self._streams.get(number)
        if kind == Frame.DATA:
            if flags & SYN:
                stream = self._add(number)
            if stream:
                stream.receive(body, flags)
            elif body:
                self.send(Frame.RST, 0, number, WORD.pack(Code.STREAM_CLOSED))
        elif kind == Frame.WNDINC and stream and len(body) == WORD.size:
            stream.add_credit(WORD.unpack(body)[0] & 0x7FFFFFFF)
        elif kind == Frame.RST and stream:
            stream.fail(MuxadoError(f"stream {number} was reset by the agent"))
        # Unknown types, RST and WNDINC of a forgotten stream are ignored (muxado-go: session.go).
        return True

    def _add(self, number: int) -> Stream:
        # No check of the order: two streams opened at once may arrive the other way round (seen
        # with the heartbeat and Auth of agent 2.3.41).
        if number % 2 == 0 or number in self._streams:
            raise MuxadoError(f"the agent may not open stream {number}")
        self._last_number_of_peer = max(number, self._last_number_of_peer)
        stream = self._streams[number] = Stream(self, number)
        task = asyncio.create_task(self._serve(stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return stream

    async def _serve(self, stream: Stream) -> None:
        try:
            # The first four bytes of every stream are its type (muxado-go: typed_stream.go).
            kind = WORD.unpack(await stream.read_exactly(WORD.size))[0]
            await self._accept(kind, stream)
            stream.finish()
        except MuxadoError:
            stream.reset()
