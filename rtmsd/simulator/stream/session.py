"""A session under remote control: people who join, talk, show and leave, and pauses."""

from typing import Any

from rtmsd.protocol.enums import EventType, MediaType, SessionState, StreamState
from rtmsd.simulator.media.items import ItemFeed
from rtmsd.simulator.media.pictures import PictureFeed
from rtmsd.simulator.model.crowd import Mic, Utterance
from rtmsd.simulator.model.settings import Person, SimRoom
from rtmsd.simulator.stream.announcer import people
from rtmsd.simulator.stream.faults import FaultyStream
from rtmsd.simulator.stream.stream import Host


class SimSession(FaultyStream):
    """One stream and the people in its session. Made by `Simulator.start_session`.

    A method that only posts messages is synchronous; one that sends webhooks or waits is awaited. People are named by
    user id or by name; `KeyError` when nobody of that name is in the session.
    """

    def __init__(self, host: Host, room: SimRoom, rtms_stream_id: str) -> None:
        super().__init__(host, room, rtms_stream_id)
        self._items = ItemFeed(self.links, self.record, host.clock.now_ms)
        self._sharer: int | None = None
        self._video = PictureFeed(MediaType.VIDEO, self._items.send)
        self._share = PictureFeed(MediaType.DESKSHARE, self._items.send)

    def advance(self, now_ms: int) -> int:
        """Do what is due and return the time of the next call."""
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
        """Add a person to the session and return the user id."""
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
        """Start to talk, unmuting first."""
        self.crowd.set_mic(self.crowd.find(who), Mic.TALKING, self.now_ms)

    def hush(self, who: str | int) -> None:
        """Stop talking."""
        self.crowd.set_mic(self.crowd.find(who), Mic.QUIET, self.now_ms)

    def mute(self, who: str | int) -> None:
        self.crowd.set_mic(self.crowd.find(who), Mic.MUTED, self.now_ms)

    # Speech, chat and pictures

    def _transcribe(self, until_ms: int) -> None:
        if MediaType.TRANSCRIPT in self.media:
            for utterance in self.crowd.utterances(until_ms, int(self.host.settings.timing.utterance_s * 1000)):
                self._items.transcript(self.feed.who(utterance.user_id, self.dialect), utterance)

    def say(self, who: str | int, text: str) -> None:
        """Send a transcript of this text, spoken during the last second."""
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
        """Share a screen, replacing whoever shares one now."""
        self._sharer = self.crowd.find(who)
        name = self.crowd.name(self._sharer)
        self.announcer.event(EventType.SHARING_START, user_id=self._sharer, user_name=name)

    def stop_sharing(self) -> None:
        self._sharer = None
        self.announcer.event(EventType.SHARING_STOP)

    def _seen(self) -> int | None:
        """Return the user whose camera is sent: the one asked for, or the speaker, or the first that is on."""
        cameras = [person.user_id for person in self.crowd.present.values() if person.camera]
        if self.offers_individual_video():
            return self.video_user_id if self.video_user_id in cameras else None
        return self.crowd.active_speaker if self.crowd.active_speaker in cameras else next(iter(cameras), None)

    def _name_of(self, user_id: int | None) -> dict[str, Any] | None:
        if user_id is None or user_id not in self.crowd.present:
            return None
        return people([user_id], self.crowd.name)[0]

    # Pauses

    def pause(self) -> None:
        """Pause as the host does: speech from now on is never sent."""
        now_ms = self.now_ms
        self.advance(now_ms)
        self.crowd.pause(now_ms)
        self.announcer.session(SessionState.PAUSED)
        self.announcer.stream(StreamState.PAUSED)

    def resume(self) -> None:
        self.crowd.resume(self.now_ms)
        self.announcer.session(SessionState.RESUMED)
        self.announcer.stream(StreamState.RESUMED)
