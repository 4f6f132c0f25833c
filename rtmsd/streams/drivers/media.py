"""The media driver: one connection after another for the same media, as the core asks for them.

A byte of media enters a stream here: `open_media` calls `_consume` with each read's batch of messages, `decode_batch`
hands them to the recorder. Nothing here waits for a disk or for another connection.
"""

import math
from collections.abc import Sequence
from typing import Final

import trio

from rtmsd.accelerator.learning import FormLearner
from rtmsd.errors import ConnectionLost, ForbiddenHost, HandshakeRejected, RemoteProtocolError, RtmsdError
from rtmsd.protocol.media import MediaConnection, MediaState
from rtmsd.protocol.media_data import Raw, decode_batch
from rtmsd.protocol.media_params import choose_url
from rtmsd.protocol.messages import KeepAliveReq
from rtmsd.protocol.products import product_of
from rtmsd.protocol.unknown import UNEXPECTED
from rtmsd.streams.core.actions import OpenMedia
from rtmsd.streams.core.connections import MediaLink
from rtmsd.streams.core.phase import StreamPhase
from rtmsd.streams.core.reconnect import remaining
from rtmsd.streams.drivers.backpressure import Backpressure
from rtmsd.streams.drivers.context import Context
from rtmsd.streams.drivers.messages import MAX_FROM_MEDIA
from rtmsd.transport.websocket import MediaSocket, open_media

# For each packet: looking up a member in its class takes 0.4 µs when caches are cold.
_STREAMING: Final = MediaState.STREAMING
_ACTIVE: Final = StreamPhase.ACTIVE


SAMPLE_EVERY_S: Final = 10.0
"""So often one message of a connection is looked at for what this version does not know, the first one at once."""


class MediaDriver:
    """A media connection, from TCP to its loss, each time the core asks for one.

    Attributes:
        last_heard_s: when the socket last brought a whole frame, in Trio's clock.
    """

    def __init__(self, context: Context, link: MediaLink) -> None:
        self.link = link
        self._context = context
        self._core, self._report = context.core, context.report
        self._machine = context.core.situation.machine
        self._scope = trio.CancelScope()
        self._connection = 0  # number of the recorder's open connection; 0: none
        self._socket: MediaSocket
        recorder = context.recorder
        self._gate = Backpressure(recorder.media.backlog, self._wait_room)
        link.is_held_back = self._gate.is_shut
        self._intake = recorder.media
        self._arrived = recorder.arrived
        self._learner: FormLearner | None = None
        self._sample_s = -math.inf  # when the next is due
        self._writer = context.writer
        self._by_channel = product_of(context.row.product).speaker_keys[0] == "channel_id"

    @property
    def last_heard_s(self) -> float:
        return self.link.heard_s

    def open(self, nursery: trio.Nursery, action: OpenMedia) -> None:
        self._scope = trio.CancelScope()
        nursery.start_soon(self._run, action)

    def close(self, lost: ConnectionLost | None) -> None:
        """Close the connection: with `lost` reported as its loss, or for good."""
        if lost is None:
            self._scope.cancel()
        else:
            self._socket.drop(lost)

    def drop(self, lost: ConnectionLost) -> None:
        """Give a silent socket up."""
        self._socket.drop(lost)

    async def _run(self, action: OpenMedia) -> None:
        """One connection, whose end the core hears of whatever it was."""
        error: RtmsdError | None = None
        try:
            with self._scope:
                await self._live(action)
        except HandshakeRejected as refused:
            self._context.diagnostics.refused(refused.status_code)
            error = refused
        except (ConnectionLost, ForbiddenHost, RemoteProtocolError) as lost:
            error = lost
        finally:
            was_granted, self._connection = self._connection != 0, 0
            was_read_out = was_granted and self._socket.was_read_out
            self._report(self._core.media_closed, self.link, error, was_granted=was_granted, was_read_out=was_read_out)

    async def _live(self, action: OpenMedia) -> None:
        """One socket, from TCP to its loss, which it raises."""
        context, link, settings = self._context, self.link, self._context.settings
        self._protocol = MediaConnection(
            context.row.session,
            context.row.rtms_stream_id,
            context.signature,
            link.types,
            context.media_params,
            also_meeting_uuid=settings.zoom.also_send_meeting_uuid,
            protocol_version=context.app.protocol_version,
        )
        self._failure: RtmsdError | None = None
        self._learner, self._sample_s = None, -math.inf
        self._answer_scope = trio.CancelScope()  # of waiting for the answer to the handshake
        timeout_s = remaining(action.deadline_s, trio.current_time(), settings.streams.connect_timeout_s)
        url = choose_url(action.urls, link.types, context.row.product)
        if url is None:
            raise RemoteProtocolError("Zoom named no media server")
        try:
            async with open_media(url, settings.zoom, timeout_s, self._consume, self._gate) as self._socket:
                await self._handshake(self._socket, action.deadline_s)
                context.watchdog.watch(self, "the media connection")
                self._report(self._core.media.up, link)
                await self._socket.wait_closed()
        finally:
            context.watchdog.forget(self)
            self._protocol.close()
            link.ignored.update(self._protocol.counts)

    async def _handshake(self, socket: MediaSocket, deadline_s: float) -> None:
        if self._failure is not None:  # Zoom spoke first, in one read with the upgrade
            raise self._failure
        now_s, wanted_s = trio.current_time(), self._context.settings.streams.handshake_timeout_s
        self._answer_scope.deadline = now_s + remaining(deadline_s, now_s, wanted_s)
        self._protocol.hello()
        try:
            with self._answer_scope:
                for text in self._protocol.to_send():
                    await socket.send(text)
                await socket.wait_closed()
        except ConnectionLost:
            if self._failure is None:  # Zoom closes right behind a refusal: what it said counts
                raise
        if self._failure is not None:
            raise self._failure
        if self._protocol.state is not MediaState.STREAMING:
            raise ConnectionLost("no answer to the media handshake")

    async def _wait_room(self) -> None:
        await self._context.wait_room()
        self.link.heard_s = trio.current_time()  # it was us who did not listen

    # Called synchronously with each read's messages: never waits, and bad content is counted, not raised.

    def _consume(self, batch: Sequence[Raw]) -> None:
        now_s = self.link.heard_s = trio.current_time()
        if self._protocol.state is not _STREAMING:
            try:
                batch = self._read_answer(batch)
            except RtmsdError as error:
                self._failure = error
                self._answer_scope.cancel()
                return
        if batch:
            decode_batch(batch, self._intake, self.control, by_channel=self._by_channel)
            if self._learner is not None:
                self._learner.look(batch)
            if now_s >= self._sample_s:
                self._sample_s = now_s + SAMPLE_EVERY_S
                self._writer.keep_unknown_of(batch[-1])
            self._arrived(now_s, len(batch))
            if self._machine.phase is not _ACTIVE:
                self._report(self._core.media.arrived)

    def _took_packets(self, count: int) -> None:
        """The accelerator took packets: what `_consume` does about them besides."""
        now_s = self.link.heard_s = trio.current_time()
        self._intake.took_packets(count)
        self._arrived(now_s, count)
        if self._machine.phase is not _ACTIVE:
            self._report(self._core.media.arrived)

    def _read_answer(self, batch: Sequence[Raw]) -> Sequence[Raw]:
        """Read the handshake's answer. Returns what is to be read now: what came too early for that, and behind it."""
        for position, raw in enumerate(batch, start=1):
            message = self._protocol.receive(raw)
            if message is not None:
                self._writer.keep_unknown(message, MAX_FROM_MEDIA)
            if isinstance(message, KeepAliveReq):
                self.link.keep_alives += 1
                self._socket.send_soon(self._protocol.to_send)
            if self._protocol.state is MediaState.STREAMING:
                self._accept()
                return [*self._protocol.take_early(), *batch[position:]]
        return ()

    def _accept(self) -> None:
        """Take over what the answer grants; raise unless there is something, and all of it can be stored."""
        protocol, core, recording = self._protocol, self._core, self._context.recording
        core.media.check_wanted()
        unfit = recording.prepare(self._context.media_params, protocol.negotiated)
        unusable = {**protocol.unusable, **unfit}
        self._report(core.media.granted, self.link, protocol.absent, unusable, protocol.negotiated)
        self._connection = recording.numbers[self.link]
        self._answer_scope.cancel()
        packets = self._intake.packet_reader() if protocol.negotiated.audio is not None else None
        self._learner = None if packets is None else FormLearner(packets)
        self._socket.accepted(packets, self._took_packets)

    def control(self, raw: Raw) -> None:
        """A message that is no media: a keep-alive, or something to be counted."""
        message = self._protocol.receive(raw)
        if message is None:
            self._intake.unknown(UNEXPECTED)
            return
        self._writer.keep_unknown(message, MAX_FROM_MEDIA)
        if isinstance(message, KeepAliveReq):
            self.link.keep_alives += 1
            self._context.recorder.heard(message.timestamp, self._connection)
            self._socket.send_soon(self._protocol.to_send)
