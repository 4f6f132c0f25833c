"""The participants whose video there may be: whose camera is on, and who spoke last."""

from typing import Final

MAX_PEOPLE: Final = 1000
"""Cameras that are known, the first ones: a meeting has no more."""

MAX_SPEAKERS: Final = 100
"""Speakers that are known, the last ones: all of them are looked at for each event."""


class People:
    """Cameras and speakers, as far as events said. What is repeated changes nothing.

    Attributes:
        cameras: ids of those whose camera is on, the longest on first.
    """

    def __init__(self) -> None:
        self.cameras: dict[int, None] = {}
        self._spoke: dict[int, None] = {}  # the latest last
        self._gone: dict[int, None] = {}  # of whom Zoom says that they are not there, the latest last

    def camera_on(self, user_id: int) -> None:
        self._gone.pop(user_id, None)
        if len(self.cameras) < MAX_PEOPLE:
            self.cameras.setdefault(user_id)

    def camera_off(self, user_id: int) -> None:
        self.cameras.pop(user_id, None)

    def spoke(self, user_id: int) -> None:
        """The participant is the active speaker."""
        self._gone.pop(user_id, None)
        self._spoke.pop(user_id, None)
        self._spoke[user_id] = None
        if len(self._spoke) > MAX_SPEAKERS:
            del self._spoke[next(iter(self._spoke))]

    def left(self, user_id: int) -> None:
        self.cameras.pop(user_id, None)
        self._spoke.pop(user_id, None)
        self._gone.pop(user_id, None)

    def gone(self, user_id: int) -> None:
        """Zoom knows no such participant, whatever events said: not to be asked for until there is another one."""
        self._gone[user_id] = None
        if len(self._gone) > MAX_PEOPLE:
            del self._gone[next(iter(self._gone))]

    def is_gone(self, user_id: int) -> bool:
        return user_id in self._gone

    def may_be_back(self, user_id: int | None = None) -> None:
        """There is a reason to ask for a participant again; None: for all."""
        if user_id is None:
            self._gone.clear()
        else:
            self._gone.pop(user_id, None)

    def can_be_seen(self, user_id: int | None) -> bool:
        return user_id in self.cameras and user_id not in self._gone

    def latest_speaker(self) -> int | None:
        """Return who spoke last of those who can be seen."""
        return next((user_id for user_id in reversed(self._spoke) if self.can_be_seen(user_id)), None)

    def longest_on(self) -> int | None:
        """Return whose camera has been on for the longest time."""
        return next((user_id for user_id in self.cameras if self.can_be_seen(user_id)), None)
