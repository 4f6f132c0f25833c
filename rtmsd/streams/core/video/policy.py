"""The policy of one participant's video: who is asked for, when, and what Zoom's answer means."""

import enum
import math
from collections.abc import Mapping
from typing import Any, Final

import attrs

from rtmsd.protocol.enums import StatusCode
from rtmsd.streams.core.video.choice import (
    BY_OPERATOR,
    Choice,
    ChoiceKind,
    Follow,
    Wanted,
    choice_from_json,
    followed,
    is_user_id,
)
from rtmsd.streams.core.video.people import People
from rtmsd.streams.core.video.requests import ANSWER_S, RESULTS, Ask, Chosen, Request, Result, Settled, chooser


class Phase(enum.Enum):
    """Whether Zoom can be asked, and what became of the latest request."""

    DOWN = enum.auto()  # video or signaling is not connected
    FREE = enum.auto()  # there was none on this connection, or it is done with
    FAILED = enum.auto()  # it is tried again at the next reason, but not too soon
    ASKING = enum.auto()  # it is waited for
    OUTDATED = enum.auto()  # likewise, and there has been a reason to look again who should be seen


AFTER: Final[Mapping[Result, Phase]] = {
    Result.OK: Phase.FREE,
    Result.GONE: Phase.FREE,
    Result.REFUSED: Phase.FAILED,
    Result.NO_ANSWER: Phase.FAILED,
}
"""The phase after a request, by its result."""


class VideoPolicy:
    """Inputs are methods, each with its time; what follows is in `take_effects`, and when `tick` is due in `due_s`.

    Attributes:
        choice: the operator's that holds.
        latest: the latest choice that was made.
        request: the one that is waited for, in the phases `ASKING` and `OUTDATED`.
        subscribed: whom Zoom was asked for last, and agreed to; None: nobody, or it is not known.
        seen: whose video comes now, as far as Zoom said: `subscribed`, unless that camera was off at any time since.
    """

    def __init__(self, follow: Follow, switch_after_s: float) -> None:
        self.people = People()
        self.follow = follow
        self.choice = Choice(ChoiceKind.AUTO)
        self.latest: Chosen | None = None
        self.request: Request | None = None
        self.subscribed: int | None = None
        self.seen: int | None = None
        self.phase = Phase.DOWN
        self._switch_after_s = switch_after_s
        self._before = self.choice  # what holds if an unsettled choice is refused
        self._unsettled: Choice | None = None
        self._present: int | None = None  # who is followed
        self._possible: list[int] = []  # whose video may come, the latest that was asked for last: several, as long as
        # it is not known what became of a request that was not answered
        self._late: Request | None = None  # one that was answered too late counts all the same
        self._settled_s, self._switch_s = -math.inf, math.inf
        self._effects: list[Ask | Chosen | Settled] = []

    @property
    def is_up(self) -> bool:
        return self.phase is not Phase.DOWN

    @property
    def known(self) -> dict[str, Any]:
        """The state that `restore` takes after a restart."""
        return {"choice": self.choice.to_json(), "cameras": list(self.people.cameras)}

    def restore(self, known: Any) -> None:
        """Begin with what an earlier process knew, as far as it can be read."""
        if isinstance(known, dict):
            self.choice = self._before = choice_from_json(known.get("choice"))
            cameras = known.get("cameras")
            for user_id in cameras if isinstance(cameras, list) else ():
                if is_user_id(user_id):
                    self.people.camera_on(user_id)

    @property
    def due_s(self) -> float:
        return self._switch_s if self.request is None else self.request.deadline_s

    def take_effects(self) -> list[Ask | Chosen | Settled]:
        effects, self._effects = self._effects, []
        return effects

    # Inputs

    def up(self, now_s: float) -> None:
        """Zoom can be asked, and has forgotten what it was asked for on earlier connections."""
        self.down()
        self.phase = Phase.FREE
        self.people.may_be_back()
        self._consider(now_s)

    def down(self) -> None:
        """The connection of video or signaling is lost."""
        self.phase = Phase.DOWN
        self.request = self.subscribed = self.seen = self._late = None
        self._possible = []
        self._switch_s = math.inf

    def spoke(self, now_s: float, user_id: int) -> None:
        self.people.spoke(user_id)
        self._consider(now_s)

    def joined(self, now_s: float, user_id: int) -> None:
        self.people.may_be_back(user_id)
        self._consider(now_s)

    def left(self, now_s: float, user_id: int) -> None:
        self.people.left(user_id)
        self._lost_sight_of(user_id)
        self._consider(now_s)

    def camera(self, now_s: float, user_id: int, *, on: bool) -> None:
        if on:
            self.people.camera_on(user_id)
        else:
            self.people.camera_off(user_id)
            self._lost_sight_of(user_id)
        self._consider(now_s)

    def choose(self, now_s: float, choice: Choice) -> None:
        """An operator chooses; `Settled` follows, at the latest when Zoom has not answered in time."""
        if self._unsettled is None:
            self._before = self.choice
        else:
            self._settle(Result.REPLACED)
        self.choice = self._unsettled = choice
        self._present = None
        self.people.may_be_back(choice.user_id)
        self._consider(now_s)

    def answered(self, now_s: float, user_id: int | None, status: int) -> None:
        """Message 29; without a user it is of the request that is waited for."""
        request, late = self.request, self._late
        if request is not None and user_id in (None, request.user_id):
            self._close(now_s, request, RESULTS.get(status, Result.REFUSED), status)
        elif late is not None and user_id == late.user_id and status == StatusCode.OK:
            self._late = None
            self._agreed(late)
            self._note(late.chosen(Result.OK, status))

    def tick(self, now_s: float) -> None:
        if self.request is not None:
            if now_s >= self.request.deadline_s:
                self._close(now_s, self.request, Result.NO_ANSWER, None)
        elif now_s >= self._switch_s:
            self._consider(now_s)

    # Decisions

    def _lost_sight_of(self, user_id: int) -> None:
        if user_id == self.seen:
            self.seen = None

    def _wanted(self) -> Wanted:
        match self.choice.kind:
            case ChoiceKind.AUTO:
                wanted = followed(self.follow, self.people, self._present)
                self._present = wanted.user_id
                return wanted
            case _:
                return Wanted(self.choice.user_id, BY_OPERATOR)

    def _consider(self, now_s: float) -> None:
        """There is a reason to look who should be seen."""
        if not self.is_up:
            return
        if self.request is not None:
            self.phase = Phase.OUTDATED
            return
        self._switch_s = math.inf
        wanted = self._wanted()
        if (ask := self._needed(wanted.user_id)) is None:
            self._note_unasked(wanted)
        elif self._must_wait(now_s, wanted.user_id):
            self._switch_s = self._settled_s + self._switch_after_s
        else:
            self.request = Request(ask.user_id, ask.subscribe, wanted.why, self.choice, now_s + ANSWER_S)
            self.phase = Phase.ASKING
            self._late = None
            self._possible = [*self._others(ask.user_id), ask.user_id]
            self._effects.append(ask)

    def _needed(self, wanted: int | None) -> Ask | None:
        """Return the request that brings about what is wanted; None if Zoom was asked for it, or for nothing."""
        if wanted is None:
            is_by_choice = self.choice.kind is ChoiceKind.OFF or self.follow is Follow.MANUAL
            must_end = is_by_choice or self.subscribed is None  # otherwise for want of cameras: that one's is off, too
            return Ask(self._possible[-1], subscribe=False) if self._possible and must_end else None
        is_asked = wanted == self.subscribed and (wanted == self.seen or wanted not in self.people.cameras)
        return None if is_asked or self.people.is_gone(wanted) else Ask(wanted, subscribe=True)

    def _others(self, user_id: int) -> list[int]:
        return [each for each in self._possible if each != user_id]

    def _must_wait(self, now_s: float, wanted: int | None) -> bool:
        """Whether it would be a switch, or another try, too soon after the last."""
        if self._unsettled is not None or self.choice.kind is not ChoiceKind.AUTO:
            return False
        is_switch = self.phase is Phase.FAILED or (self.seen is not None and wanted != self.seen)
        return is_switch and now_s < self._settled_s + self._switch_after_s

    def _note_unasked(self, wanted: Wanted) -> None:
        """Note a choice that needs no request."""
        was_seen = self.latest is not None and self.latest.subscribe
        if self._unsettled is not None or (wanted.user_id is None and was_seen):
            self._note(
                Chosen(
                    user_id=wanted.user_id,
                    subscribe=wanted.user_id is not None,
                    status=None,
                    result=Result.OK,
                    why=wanted.why,
                    by=chooser(self.choice),
                )
            )
        self._settle(Result.OK)

    def _close(self, now_s: float, request: Request, result: Result, status: int | None) -> None:
        """The request has been answered, or will not be."""
        self.request, self._settled_s = None, now_s
        others = self._others(request.user_id)
        is_gone = result is Result.GONE
        if is_gone and not request.subscribe:
            result = Result.OK  # nothing comes from whoever is gone
        was_outdated, self.phase = self.phase is Phase.OUTDATED, AFTER[result]
        self._note(request.chosen(result, status))
        match result:
            case Result.OK:
                self._agreed(request)
                if is_gone:
                    self._possible = others
            case Result.NO_ANSWER:
                self.subscribed = self.seen = None
                self._late = request if request.subscribe else None
            case Result.GONE:
                self.people.gone(request.user_id)
                self.subscribed = None if self.subscribed == request.user_id else self.subscribed
                self._possible = others
            case _ if request.subscribe and request.user_id != self.subscribed:
                self._possible = others
            case _:
                pass
        if request.choice is self._unsettled:
            if result in {Result.GONE, Result.REFUSED} and request.choice.kind is not ChoiceKind.AUTO:
                self.choice = self._before
            self._settle(result, status)
        # What failed waits for its next reason; after all else it may be somebody else's turn.
        if was_outdated or self.phase is Phase.FREE or self.choice is not request.choice:
            self._consider(now_s)

    def _agreed(self, request: Request) -> None:
        self.subscribed = request.user_id if request.subscribe else None
        self._possible = [request.user_id] if request.subscribe else []
        self.seen = self.subscribed if self.subscribed in self.people.cameras else None

    def _note(self, chosen: Chosen) -> None:
        self.latest = chosen
        self._effects.append(chosen)

    def _settle(self, result: Result, status: int | None = None) -> None:
        choice, self._unsettled = self._unsettled, None
        if choice is not None:
            self._effects.append(Settled(choice, result, status))

    def describe(self) -> dict[str, Any]:
        """Return it all as the admin API shows it."""
        return {
            "follow": self.follow.value,
            "chosen_by": chooser(self.choice),
            "choice": self.choice.to_json(),
            "user_id": self.seen,
            "asking_for": None if self.request is None else self.request.user_id,
            "cameras": list(self.people.cameras),
            "latest": None if self.latest is None else attrs.asdict(self.latest),
        }
