"""A session under remote control: people who join, talk, show and leave, and pauses."""

from collections.abc import Sequence
from typing import Any

from rtmsd.protocol.enums import EventType, MediaType, SessionState, StreamState
from rtmsd.simulator.media.items import ItemFeed
from rtmsd.simulator.media.pictures import PictureFeed
from rtmsd.simulator.model.crowd import Mic, Utterance
from rtmsd.simulator.model.settings import Person, SimRoom
from rtmsd.simulator.stream.announcer import people
from rtmsd.simulator.stream.calls import CallStream
from rtmsd.simulator.stream.stream import Host


class SimSession(CallStream):
    """One stream and the people in its session. Made by `Simulator.start_session`.

    A method that only posts messages is synchronous; one that sends webhooks or waits is awaited. People are named by
    user id or by name; `KeyError` when nobody of that name is in the session.
    """

    def __init__(self, host: Host, room: SimRoom, rtms_stream_id: str) -> None:
        super().__init__(host, room, rtms_stream_id)
        self._items = ItemFeed(self.links, self.record, host.clock.now_ms)
        self._sharer: int | None = None
        self._shown: int | None = None  # of the active speakers
        self._video = PictureFeed(MediaType.VIDEO, self._items.send)
        self._share = PictureFeed(MediaType.DESKSHARE, self._items.send)

    def advance(self, now_ms: int) -> int:
        """Do what is due and return the time of the next call."""
        due_ms = super().advance(now_ms)
        seen, sharer = (None, None) if self.paused else (self._seen(), self._sharer)
        self._video.advance(now_ms, self.streaming(MediaType.VIDEO), self._name_of(seen))
        self._share.advance(now_ms, self.streaming(MediaType.DESKSHARE), self._name_of(sharer))
        if not self.paused:
            speaker = self.crowd.active_speaker
            if speaker is not None:
                self.announcer.speaker(speaker, self.people([speaker])[0], now_ms)
            lag_s = 0 if self.stop_reason is not None else self.host.settings.timing.transcript_lag_s
            self._transcribe(now_ms - int(lag_s * 1000))
        return due_ms

    # People

    def join(self, person: Person | str) -> int:
        """Add a person to the session and return the user id."""
        person = Person(user_name=person) if isinstance(person, str) else person
        user_id = self.crowd.join(person, self.now_ms).user_id
        self.announcer.event(EventType.PARTICIPANT_JOIN, participants=self.people([user_id]))
        if person.camera:
            self.camera(user_id)
        return user_id

    def leave(self, who: str | int) -> None:
        user_id = self.crowd.find(who)
        if user_id == self._sharer:
            self.stop_sharing()
        if user_id == self.video_user_id:
            self.video_user_id = None
        self.crowd.leave(user_id, self.now_ms)
        self.announcer.event(EventType.PARTICIPANT_LEAVE, participants=self.people([user_id], named=False))

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

    def say(self, who: str | int, text: str, label: str = "", has_start: bool = True) -> None:
        """Send a transcript of this text, spoken during the last second; `label` is for its revisions."""
        utterance = Utterance(self.crowd.find(who), self.now_ms - 1000, self.now_ms)
        speaker = self.feed.who(utterance.user_id, self.dialect)
        self._items.transcript(speaker, utterance, text, label=label, has_start=has_start)

    def revise(self, label: str, text: str) -> None:
        """Replace the text of an utterance."""
        self._items.revise(label, text)

    def retract(self, label: str) -> None:
        """Delete an utterance."""
        self._items.revise(label, None)

    def chat(
        self,
        who: str | int,
        text: str,
        *,
        message_id: str = "",
        to: str | int | None = None,
        group: str = "",
        reply_to: str = "",
        files: Sequence[str] = (),
    ) -> str:
        """Send a chat message: to everybody, to one person or to a group. Returns its id."""
        return self._items.chat(
            self._person(who),
            text,
            self.dialect.chat_shape,
            message_id=message_id,
            receiver=None if to is None else self._person(to),
            group=group,
            reply_to=reply_to,
            files=files,
        )

    def edit_chat(self, who: str | int, message_id: str, text: str, deleted_files: Sequence[str] = ()) -> None:
        """Replace the text of a chat message, and take files away from it."""
        more = {"delete_file_id_list": list(deleted_files)} if deleted_files else {}
        self._items.change_chat("update", self._person(who), message_id, self.dialect.chat_shape, data=text, **more)

    def delete_chat(self, who: str | int, message_id: str) -> None:
        """Delete a chat message."""
        self._items.change_chat("delete", self._person(who), message_id, self.dialect.chat_shape)

    def react(self, who: str | int, message_id: str, emoji: str, on: bool = True) -> None:
        """Add a reaction to a chat message, or take it back."""
        operation = "add_reaction" if on else "remove_reaction"
        self._items.change_chat(operation, self._person(who), message_id, self.dialect.chat_shape, data=emoji)

    def chat_group(self, group: str, members: Sequence[str]) -> None:
        """Make a chat group of these people. Zoom publishes no example of these two events."""
        self.announcer.event(EventType.CHAT_GROUP_CREATE, chat_groups=[{"id": group, "name": group, "type": 0}])
        added = [{**self._person(name), "status": 0} for name in members]
        self.announcer.event(EventType.CHAT_GROUP_MEMBERS_ADD, members_update_list=[{"id": group, "members": added}])

    def _person(self, who: str | int) -> dict[str, Any]:
        return people([self.crowd.find(who)], self.crowd.name)[0]

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
        """Return the user whose camera is sent: the one asked for, or who of those with a camera spoke last."""
        cameras = [person.user_id for person in self.crowd.present.values() if person.camera]
        if self.offers_individual_video():
            return self.video_user_id if self.video_user_id in cameras else None
        if self.crowd.active_speaker in cameras:
            self._shown = self.crowd.active_speaker
        elif self._shown not in cameras:
            self._shown = next(iter(cameras), None)
        return self._shown

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
