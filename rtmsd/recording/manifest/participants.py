"""The participants: from joins, from leaves, and from the names that come with media, in whatever order."""

import copy
from collections.abc import Iterable, Iterator
from typing import Final

from rtmsd.protocol.bounds import bounded_name, json_bytes
from rtmsd.protocol.media_data import UserId
from rtmsd.protocol.messages import Participant
from rtmsd.recording.manifest.changes import ChangeCounter
from rtmsd.recording.manifest.schema import MIX_USER_ID, ParticipantEntry

_MAX_PARTICIPANTS: Final = 10_000
_MAX_BYTES: Final = 1_250_000  # of all entries in the manifest: 10 000 usual ones
_ENTRY_BYTES: Final = 80  # of one, apart from id and name
_KEY_BYTES: Final = 20  # of a key that only some have
_MAX_UNLISTED: Final = 100_000


class Participants:
    """Everybody who was named so far."""

    def __init__(self, entries: Iterable[ParticipantEntry] = (), changes: ChangeCounter | None = None) -> None:
        self._people = {entry.user_id: entry for entry in entries}
        self._changes = changes or ChangeCounter()
        self._bytes = sum(_size_bytes(person) for person in self._people.values())
        self._unlisted: set[int] = set()  # hashes of ids

    @property
    def unlisted(self) -> int:
        """Participants for whom there was no room in the list."""
        return len(self._unlisted)

    def name(self, user_id: int | str | None) -> str | None:
        person = None if user_id is None else self._people.get(user_id)
        return None if person is None else person.user_name

    def named(self, user_id: int | str, user_name: str | None) -> None:
        """A participant is there: make the entry or replace its name; a missing name changes nothing."""
        if user_id == MIX_USER_ID:
            return
        person = self._entry(user_id)
        if person is None or not user_name or person.user_name == user_name:
            return
        user_name = bounded_name(user_name)
        if person.user_name != user_name:
            added_bytes = json_bytes(user_name) - json_bytes(person.user_name)
            if added_bytes <= 0 or self._bytes + added_bytes <= _MAX_BYTES:
                person.user_name = user_name
                self._bytes += added_bytes
                self._changes.note()

    def described(self, user_id: int | str, role: str | None, phone_number: str | None) -> None:
        """Take over what an event says of a participant besides; what it does not say changes nothing."""
        person = None if user_id == MIX_USER_ID else self._entry(user_id)
        if person is None:
            return
        before = copy.copy(person)
        person.role = role or person.role
        person.phone_number = phone_number or person.phone_number
        added_bytes = _size_bytes(person) - _size_bytes(before)
        if added_bytes > 0 and self._bytes + added_bytes > _MAX_BYTES:
            person.role, person.phone_number = before.role, before.phone_number
        elif person != before:
            self._bytes += added_bytes
            self._changes.note()

    def joined(self, user_id: int | str, user_name: str | None, time_ms: int) -> None:
        """Zoom repeats joins after a reconnection: only the first counts, unless the person had left."""
        self.named(user_id, user_name)
        person = self._entry(user_id)
        if person is not None and (person.joined_ms is None or person.left_ms is not None):
            person.joined_ms = time_ms if person.joined_ms is None else person.joined_ms
            person.left_ms = None
            self._changes.note()

    def inherit(self, entries: Iterable[ParticipantEntry]) -> None:
        """Another member had the stream since: what it knows of people is newer."""
        for entry in entries:
            self.named(entry.user_id, entry.user_name)
            self.described(entry.user_id, entry.role or None, entry.phone_number or None)
            person = self._people.get(entry.user_id)
            if person is not None:
                person.joined_ms = entry.joined_ms if person.joined_ms is None else person.joined_ms
                person.left_ms = entry.left_ms
                person.others = {**person.others, **entry.others}
                self._changes.note()

    def left(self, user_id: int | str, time_ms: int) -> None:
        person = self._entry(user_id)
        if person is not None:
            person.left_ms = time_ms
            self._changes.note()

    def entries(self) -> list[ParticipantEntry]:
        """Return all as they are now."""
        return [copy.copy(person) for person in self._people.values()]

    def _entry(self, user_id: int | str) -> ParticipantEntry | None:
        """Return the person's entry, made if need be; None if there are too many."""
        person = self._people.get(user_id)
        if person is not None:
            return person
        person = ParticipantEntry(user_id)
        if len(self._people) >= _MAX_PARTICIPANTS or self._bytes + _size_bytes(person) > _MAX_BYTES:
            if len(self._unlisted) < _MAX_UNLISTED:
                self._unlisted.add(hash(user_id))
            return None
        self._people[user_id] = person
        self._bytes += _size_bytes(person)
        self._changes.note()
        return person


def _size_bytes(person: ParticipantEntry) -> int:
    described_bytes = sum(
        _KEY_BYTES + json_bytes(text) for text in (person.role, person.phone_number) if isinstance(text, str)
    )
    return _ENTRY_BYTES + json_bytes(person.user_id) + json_bytes(person.user_name) + described_bytes


def identified(participants: Iterable[Participant]) -> Iterator[tuple[UserId, Participant]]:
    """Yield those of whom an event gives an id, with the id that media have for them."""
    for person in participants:
        # A contact center's media name the channel; the `user_id` beside it is the agent's account.
        user_id = person.channel_id or person.user_id
        if user_id is not None:
            yield user_id, person
