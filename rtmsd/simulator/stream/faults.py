"""The faults of a stream on demand: of its connections, its webhooks and its messages."""

from collections.abc import Sequence

import attrs

from rtmsd.protocol.enums import MediaType, StatusCode
from rtmsd.simulator.media.hostile import MALFORMED, VIOLATIONS, MalformedKind, ViolationKind, huge
from rtmsd.simulator.model.answers import Answers
from rtmsd.simulator.model.settings import Dialect
from rtmsd.simulator.stream.stream import SimStream
from rtmsd.simulator.wire.connection import ConnectionKind, SimConnection
from rtmsd.simulator.wire.frames import BINARY, TEXT, frame
from rtmsd.simulator.wire.wire import Cut


class FaultyStream(SimStream):
    """A stream whose network, server and webhooks fail when they are asked to."""

    # Connections

    def cut_media(
        self, media: MediaType = MediaType.AUDIO, how: Cut = Cut.EOF, *, announce: bool = True
    ) -> SimConnection | None:
        """Cut what carries `media`, with or without event 7 and message 8; return the connection if there was one."""
        connection = self.streaming(media)
        if connection is not None:
            self.drop(connection, "media was cut", how, announce=announce)
        return connection

    def cut_signaling(self, how: Cut = Cut.EOF, *, webhook: bool = True) -> None:
        """Cut signaling, and media with it, with or without the interrupted webhook."""
        if self.signaling is not None:
            self.drop(self.signaling, "signaling was cut", how, announce=webhook)

    def silence(self, kind: ConnectionKind | None = None) -> None:
        """Make all live connections, or those of a kind, half-open: TCP stays up, and nothing is sent any more."""
        for connection in self.connections(kind):
            connection.wire.play_dead()

    async def stall(self, duration_s: float, kind: ConnectionKind | None = None) -> None:
        """Hold all bytes back, in both directions, for so long (Zoom's time); nothing is lost."""
        stalled = [connection.wire for connection in self.connections(kind)]
        for wire in stalled:
            wire.stall()
        try:
            await self.host.clock.sleep(duration_s)
        finally:
            for wire in stalled:
                wire.resume()

    async def failover(self, *, close: bool = True) -> int | None:
        """Fail the server: everything moves to another URL, which a second started webhook names.

        Args:
            close: cut the old sockets; otherwise they stay half-open.
        """
        for connection in self.go_dark("the server failed"):
            if close:
                connection.wire.cut(Cut.EOF)
            else:
                connection.wire.play_dead()
        self.move()
        return await self.announce()

    def refuse_next(self, status: StatusCode, times: int = 1, *, kind: ConnectionKind = "signaling") -> None:
        """Refuse so many handshakes that would have succeeded."""
        self.refusals[kind].extend([status] * times)

    def refuse_video(self, status: StatusCode, times: int = 1) -> None:
        """Refuse so many requests for one participant's video (message 28) that would have succeeded."""
        self.video_refusals.extend([status] * times)

    def ignore_video(self, times: int = 1) -> None:
        """Leave so many of them without an answer, and without effect."""
        self.video_refusals.extend([None] * times)

    def answer_with(self, answers: Answers) -> None:
        """Grant other media parameters than are asked for, from the next media handshake on."""
        self.answers = answers

    def withhold_keep_alives(self, on: bool = True) -> None:
        self.watch.asks_alive = not on

    # Webhooks

    async def duplicate_webhook(self) -> int | None:
        """Send the last started webhook again, as a retry would: same `event_ts`."""
        return await self.webhooks.started(self.signaling_url, "duplicate")

    async def forged_webhook(self, event: str = "stopped") -> int | None:
        """Send an event about this stream with a wrong signature."""
        return await self.webhooks.forged(event, self.signaling_url)

    # Messages

    def write_as(self, dialect: Dialect) -> None:
        """Write messages in another dialect from now on."""
        self.dialect = dialect
        for connection in self.connections():
            connection.dialect = dialect

    def binary_frames(self, on: bool = True) -> None:
        self.write_as(attrs.evolve(self.dialect, binary=on))

    def repeat_audio(self, repeat_ms: int) -> None:
        """Send so much audio again after each media reconnection from now on, for clients to drop."""
        self.feed.repeat_ms = repeat_ms

    def rtp_jump(self, who: str | int, packets: int) -> None:
        """Leave out sequence numbers in somebody's RTP, as if so many packets had been lost."""
        self.feed.rtp_jump(self.crowd.find(who), packets)

    def rtp_restart(self, who: str | int) -> None:
        """Begin somebody's RTP again, with another SSRC."""
        self.feed.rtp_restart(self.crowd.find(who))

    def malformed_frames(
        self, kinds: Sequence[MalformedKind] = tuple(MALFORMED), media: MediaType = MediaType.AUDIO
    ) -> int:
        """Send broken media messages, by default one of each kind in `MALFORMED`; return how many."""
        return sum(
            self._inject(kind, frame(BINARY if kind == "bad_utf8" else TEXT, MALFORMED[kind]()), media)
            for kind in kinds
        )

    def huge_frame(self, media: MediaType = MediaType.AUDIO) -> None:
        """Send a message of 20 MB."""
        self._inject("huge", frame(TEXT, huge()), media)

    def violate_websocket(self, kind: ViolationKind, media: MediaType = MediaType.AUDIO) -> None:
        """Send a frame that breaks RFC 6455: the client must close."""
        self._inject(kind, VIOLATIONS[kind][0], media)

    def _inject(self, kind: str, data: bytes, media: MediaType) -> bool:
        """Put raw bytes on the connection of `media` and count them; return False without one."""
        connection = self.streaming(media)
        if connection is None:
            return False
        connection.wire.put(data)
        self.record.hostile[kind] += 1
        return True
