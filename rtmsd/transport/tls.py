"""TLS as a Trio stream that reads in large pieces.

`trio.SSLStream` hands on one record a call, which costs 13-16 µs for each media message that comes in a record of its
own; decrypting all that a large read brought costs 4.5-6.9. The checks are the same: they are OpenSSL's work.
"""

import contextlib
import ssl
from typing import TYPE_CHECKING, Final

import trio

from rtmsd.transport.failures import tls_failure
from rtmsd.transport.network import NOWAIT_BYTES, READ_BYTES, TcpStream

if TYPE_CHECKING:
    from rtmsd.accelerator._packets import Reader

_RECORD_BYTES: Final = 16 * 1024  # the most one TLS record holds


class TlsStream(trio.abc.Stream):
    """The client's side of TLS over `transport`. Call `do_handshake` before anything else.

    The end of `transport` without TLS's close_notify is an ordinary end: a WebSocket has a close frame of its own, and
    many servers leave close_notify out. So does this client.
    """

    def __init__(self, transport: trio.abc.Stream, context: ssl.SSLContext, host: str) -> None:
        self._transport = transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._sending = trio.Lock()  # the reader has something to send, too: the answer to a key update

    async def do_handshake(self) -> None:
        """Agree on keys. `context` decides which certificates and host names are accepted.

        Raises:
            BrokenResourceError: the certificate was refused, or the connection broke or ended; the text says which.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill(_RECORD_BYTES):
                    raise trio.BrokenResourceError("the connection ended during the TLS handshake") from None
            except ssl.SSLError as exc:
                with contextlib.suppress(trio.BrokenResourceError):
                    await self._flush()  # the alert that gives the server the reason
                raise trio.BrokenResourceError(tls_failure(exc)) from exc
            else:
                await self._flush()
                return

    def fileno(self) -> int:
        return self._tcp.fileno()

    def receive_nowait(self, max_bytes: int = NOWAIT_BYTES) -> bytes:
        """As `TcpStream`. What TLS has to send in answer, if anything, goes out with the next thing sent."""
        data = self._tcp.receive_nowait(max_bytes)
        if not data:
            return b""
        self._incoming.write(data)
        try:
            return self._decrypt(2 * READ_BYTES)  # all: with the record that an earlier read began, more than was read
        except ssl.SSLWantReadError:
            raise trio.WouldBlock from None
        except ssl.SSLError as exc:
            raise trio.BrokenResourceError(tls_failure(exc)) from exc

    def take_nowait(self, packets: "Reader") -> bytes | None:
        """As `TcpStream`."""
        return packets.take(self.receive_nowait())

    @property
    def _tcp(self) -> TcpStream:
        """Only over TCP can TLS be read without waiting."""
        assert isinstance(self._transport, TcpStream)
        return self._transport

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return what a read of `transport` brought, all its records together; b"" at the end.

        Raises:
            BrokenResourceError: the connection broke, or its data were tampered with.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        wanted_bytes = max_bytes or READ_BYTES
        was_read_before = True
        while True:
            try:
                data = self._decrypt(wanted_bytes)
                break
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill(wanted_bytes):
                    return b""
                was_read_before = False
            except ssl.SSLError as exc:
                raise trio.BrokenResourceError(tls_failure(exc)) from exc
        if was_read_before:  # nothing let other tasks run
            await trio.lowlevel.cancel_shielded_checkpoint()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send `data`.

        Raises:
            BrokenResourceError: the connection broke.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            self._tls.write(data)
        except ssl.SSLError as exc:
            raise trio.BrokenResourceError(tls_failure(exc)) from exc
        await self._flush()

    async def wait_send_all_might_not_block(self) -> None:
        await self._transport.wait_send_all_might_not_block()

    def close(self) -> None:
        """As `TcpStream`."""
        self._tcp.close()

    async def aclose(self) -> None:
        await self._transport.aclose()

    def _decrypt(self, max_bytes: int) -> bytes:
        """Return what can be read without waiting; b"" after close_notify. An error waits for the next call."""
        records: list[bytes] = []
        room_bytes = max_bytes
        try:
            while room_bytes and (record := self._tls.read(min(room_bytes, _RECORD_BYTES))):
                records.append(record)
                room_bytes -= len(record)
                if not self._incoming.pending and not self._tls.pending():  # to be told so by an exception takes 2 µs
                    break
        except ssl.SSLError:
            if not records:
                raise
        return b"".join(records)

    async def _fill(self, max_bytes: int) -> bool:
        """Take in what the network has; False at its end."""
        data = await self._transport.receive_some(max_bytes)
        self._incoming.write(data)
        return bool(data)

    async def _flush(self) -> None:
        """Send what OpenSSL has ready."""
        if self._outgoing.pending:
            async with self._sending:
                await self._transport.send_all(self._outgoing.read())
