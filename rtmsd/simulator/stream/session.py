"""A session under remote control: people who come, talk and go, pauses, and everything that can go wrong."""

from collections.abc import Sequence
from typing import Any

import attrs

from rtmsd.protocol.enums import EventType, MediaType, SessionState, StatusCode, StreamState
from rtmsd.simulator.media.hostile import MALFORMED, VIOLATIONS, MalformedKind, ViolationKind, huge
from rtmsd.simulator.media.items import ItemFeed
from rtmsd.simulator.media.pictures import PictureFeed
from rtmsd.simulator.model.crowd import Utterance
from rtmsd.simulator.model.settings import Dialect, Person, SimRoom
from rtmsd.simulator.stream.announcer import people
from rtmsd.simulator.stream.stream import Host, SimStream
from rtmsd.simulator.wire.connection import BINARY, TEXT, ConnectionKind, SimConnection, frame
from rtmsd.simulator.wire.wire import Cut


class SimSession(SimStream):
    """One stream and the hands that move it. Made by `Simulator.start_session`.

    What only posts messages is synchronous; what sends webhooks or waits is awaited. People are named by user id or
    by name; `KeyError` when nobody of the name is there.
    """

    def __init__(self, host: Host, room: SimRoom, rtms_stream_id: str) -> None:
        super().__init__(host, room, rtms_stream_id)
        self._items = ItemFeed(self.links, self.record, host.clock.now_ms)
        self._sharer: int | None = None
        self._video = PictureFeed(MediaType.VIDEO, self._items.send)
        self._share = PictureFeed(MediaType.DESKSHARE, self._items.send)

    def advance(self, now_ms: int) -> int:
        """Do what is due and return when to come again."""
        due_ms = super().advance(now_ms)
        if not self.paused:
            speaker = self.crowd.active_speaker
            if speaker is not None:
                self.announcer.speaker(speaker, self.crowd.name(speaker), now_ms)
            self._video.advance(now_ms, self.streaming(MediaType.VIDEO), self._name_of(self._seen()))
            self._share.advance(now_ms, self.streaming(MediaType.DESKSHARE), self._name_of(self._sharer))
            lag_s = 0 if self.stop_reason is not None else self.host.settings.timing.transcript_lag_s
            self._transcribe(now_ms - int(lag_s * 1000))
        return due_ms

    # People

    def join(self, person: Person | str) -> int:
        """Let somebody in and return the user id."""
        person = Person(user_name=person) if isinstance(person, str) else person
        user_id = self.crowd.join(person, self.now_ms).user_id
        self.announcer.event(EventType.PARTICIPANT_JOIN, participants=people([user_id], self.crowd.name))
        return user_id

    def leave(self, who: str | int) -> None:
        user_id = self.crowd.find(who)
        if user_id == self._sharer:
            self.stop_sharing()
        self.crowd.leave(user_id, self.now_ms)
        self.announcer.event(EventType.PARTICIPANT_LEAVE, participants=people([user_id]))

    def talk(self, who: str | int) -> None:
        """Start to talk, unmuted if need be."""
        self.crowd.talk(self.crowd.find(who), self.now_ms)

    def hush(self, who: str | int) -> None:
        """Stop talking."""
        self.crowd.hush(self.crowd.find(who), self.now_ms)

    def mute(self, who: str | int) -> None:
        self.crowd.mute(self.crowd.find(who), self.now_ms)

    # What they say, write and show

    def _transcribe(self, until_ms: int) -> None:
        if MediaType.TRANSCRIPT in self.media:
            for utterance in self.crowd.utterances(until_ms, int(self.host.settings.timing.utterance_s * 1000)):
                self._items.transcript(self.feed.who(utterance.user_id, self.dialect), utterance)

    def say(self, who: str | int, text: str) -> None:
        """Send a transcript of this text, as if it had been said during the last second."""
        utterance = Utterance(self.crowd.find(who), self.now_ms - 1000, self.now_ms)
        self._items.transcript(self.feed.who(utterance.user_id, self.dialect), utterance, text)

    def chat(self, who: str | int, text: str) -> None:
        """Send a chat message to everybody."""
        self._items.chat(people([self.crowd.find(who)], self.crowd.name)[0], text)

    def camera(self, who: str | int, on: bool = True) -> None:
        """Turn a camera on or off."""
        participant = self.crowd.present[self.crowd.find(who)]
        participant.camera = on
        event_type = EventType.PARTICIPANT_VIDEO_ON if on else EventType.PARTICIPANT_VIDEO_OFF
        self.announcer.event(event_type, participants=people([participant.user_id]))

    def share(self, who: str | int) -> None:
        """Share a screen, instead of whoever does so now."""
        self._sharer = self.crowd.find(who)
        name = self.crowd.name(self._sharer)
        self.announcer.event(EventType.SHARING_START, user_id=self._sharer, user_name=name)

    def stop_sharing(self) -> None:
        self._sharer = None
        self.announcer.event(EventType.SHARING_STOP)

    def _seen(self) -> int | None:
        """Return whose camera is sent: the one asked for, or the speaker's, or the first that is on."""
        cameras = [person.user_id for person in self.crowd.present.values() if person.camera]
        if self.offers_individual_video():
            return self.video_user_id if self.video_user_id in cameras else None
        return self.crowd.active_speaker if self.crowd.active_speaker in cameras else next(iter(cameras), None)

    def _name_of(self, user_id: int | None) -> dict[str, Any] | None:
        if user_id is None or user_id not in self.crowd.present:
            return None
        return people([user_id], self.crowd.name)[0]

    def streaming(self, media: MediaType) -> SimConnection | None:
        """Return the connection on which this media flows."""
        return self.links.streaming(media)

    # Pauses

    def pause(self) -> None:
        """Pause as the host does: what is said from now on is never sent."""
        now_ms = self.now_ms
        self.advance(now_ms)
        self.crowd.pause(now_ms)
        self.announcer.session(SessionState.PAUSED)
        self.announcer.stream(StreamState.PAUSED)

    def resume(self) -> None:
        self.crowd.resume(self.now_ms)
        self.announcer.session(SessionState.RESUMED)
        self.announcer.stream(StreamState.RESUMED)

    # Faults: connections

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
        """Make all live connections, or those of a kind, half-open: TCP stays up, and nothing comes any more."""
        for connection in self.connections():
            if kind in (None, connection.kind):
                connection.wire.play_dead()

    async def stall(self, duration_s: float, kind: ConnectionKind | None = None) -> None:
        """Hold all bytes back, in both directions, for so long (Zoom's time); nothing is lost."""
        stalled = [connection.wire for connection in self.connections() if kind in (None, connection.kind)]
        for wire in stalled:
            wire.stall()
        try:
            await self.host.clock.sleep(duration_s)
        finally:
            for wire in stalled:
                wire.resume()

    async def failover(self, *, close: bool = True) -> int | None:
        """Let the server fail: everything moves to another URL, which a second started webhook tells.

        Args:
            close: the old sockets are cut; otherwise they stay half-open.
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

    # Faults: webhooks

    async def duplicate_webhook(self) -> int | None:
        """Send the last started webhook again, as a retry would: same `event_ts`."""
        return await self.webhooks.started(self.signaling_url, "duplicate")

    async def forged_webhook(self, event: str = "stopped") -> int | None:
        """Send an event about this stream that somebody else signed."""
        return await self.webhooks.forged(event, self.signaling_url)

    # Faults: messages

    def write_as(self, dialect: Dialect) -> None:
        """Write in another way from now on."""
        self.dialect = dialect
        for connection in self.connections():
            connection.dialect = dialect

    def binary_frames(self, on: bool = True) -> None:
        self.write_as(attrs.evolve(self.dialect, binary=on))

    def repeat_audio(self, repeat_ms: int) -> None:
        """From now on send so much audio again after each media reconnection, for clients to drop."""
        self.feed.repeat_ms = repeat_ms

    def malformed_frames(
        self, kinds: Sequence[MalformedKind] = tuple(MALFORMED), media: MediaType = MediaType.AUDIO
    ) -> int:
        """Send broken media messages, by default one of each kind in `MALFORMED`; return how many."""
        connection = self.streaming(media)
        if connection is None:
            return 0
        for kind in kinds:
            opcode = BINARY if kind == "bad_utf8" else TEXT
            connection.wire.put(frame(opcode, MALFORMED[kind]()))
            self.record.hostile[kind] += 1
        return len(kinds)

    def huge_frame(self, media: MediaType = MediaType.AUDIO) -> None:
        """Send a message of 20 MB."""
        connection = self.streaming(media)
        if connection is not None:
            connection.wire.put(frame(TEXT, huge()))
            self.record.hostile["huge"] += 1

    def violate_websocket(self, kind: ViolationKind, media: MediaType = MediaType.AUDIO) -> None:
        """Send a frame that breaks RFC 6455 : the client must close."""
        connection = self.streaming(media)
        if connection is not None:
            connection.wire.put(VIOLATIONS[kind][0])
            self.record.hostile[kind] += 1

    def withhold_keep_alives(self, on: bool = True) -> None:
        self.watch.asks_alive = not on

    async def wait_reconnected(self, media: MediaType = MediaType.AUDIO) -> SimConnection:
        """Return the connection on which this media flows as soon as there is one."""
        while (connection := self.streaming(media)) is None:
            await self.media_news.park()
        return connection
