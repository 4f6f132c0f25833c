"""The decisions on one participant's video: Zoom's words become the policy's inputs, and its choices actions."""

from typing import Final

from rtmsd.protocol import messages as m
from rtmsd.protocol.enums import DataOption, EventType
from rtmsd.streams.core.actions import KeepVideo, Log, RecordVideoChoice, Send, SettleVideoChoice
from rtmsd.streams.core.situation import Situation
from rtmsd.streams.core.video.choice import Choice, is_user_id
from rtmsd.streams.core.video.policy import VideoPolicy
from rtmsd.streams.core.video.requests import Ask, Chosen, Result, Settled

CAMERAS: Final = m.EventSubscription(
    events=tuple(
        m.EventChoice(event_type=int(event), subscribe=True)
        for event in (EventType.PARTICIPANT_VIDEO_ON, EventType.PARTICIPANT_VIDEO_OFF)
    )
)


class VideoDecisions:
    """A part of the core, with the inputs that concern one participant's video alone.

    Attributes:
        policy: None where Zoom is not asked for one participant's video.
        granted: whose video Zoom agreed to send, a `DataOption`; None: not known yet.
    """

    def __init__(self, situation: Situation, policy: VideoPolicy | None) -> None:
        self._s = situation
        self.policy = policy
        self.granted: int | None = None
        self._logged: dict[str, int | str | None] = {}  # the latest failure that the log knows
        self._kept = None if policy is None else policy.known

    @property
    def is_individual(self) -> bool:
        """Whether participants can be chosen, now or when video is connected."""
        return self.policy is not None and self.granted in {None, DataOption.VIDEO_SINGLE_INDIVIDUAL_STREAM}

    def handshake(self, granted: m.MediaParams) -> None:
        """A media handshake was answered."""
        if granted.video is not None and self.policy is not None:
            self.granted = granted.video.data_opt
            if not self.is_individual:
                why = "one participant's was asked for, and Zoom granted another kind: it chooses by itself"
                self._s.emit(Log("warning", "participants' video cannot be chosen", {"why": why}))

    def up(self, now_s: float) -> None:
        """Video is connected, and signaling knows (message 7)."""
        if self.policy is not None:
            self._s.emit(Send(CAMERAS))
            if self.is_individual:
                self.policy.up(now_s)
                self._follow()

    def down(self) -> None:
        """The video connection is lost, or an attempt at one."""
        if self.policy is not None:
            self.policy.down()
            self._follow()

    def tick(self, now_s: float) -> None:
        if (policy := self._ready()) is not None and now_s >= policy.due_s:
            policy.tick(now_s)
            self._follow()

    def choose(self, now_s: float, choice: Choice) -> None:
        """An operator chooses, of a stream that `is_individual`."""
        if (policy := self._ready()) is not None:
            policy.choose(now_s, choice)
            self._follow()

    def answered(self, now_s: float, answer: m.VideoSubscriptionResp) -> None:
        """Zoom's answer to a choice, message 29."""
        if (policy := self._ready()) is not None:
            policy.answered(now_s, answer.user_id, answer.status_code)
            self._follow()

    def event(self, now_s: float, event: m.EventUpdate) -> None:
        """Events of people, their cameras and the active speaker."""
        if (policy := self._ready()) is None:
            return
        for person in event.participants:
            if not is_user_id(user_id := person.user_id):
                continue
            match event.event_type:
                case EventType.ACTIVE_SPEAKER_CHANGE:
                    policy.spoke(now_s, user_id)
                case EventType.PARTICIPANT_JOIN:
                    policy.joined(now_s, user_id)
                case EventType.PARTICIPANT_LEAVE:
                    policy.left(now_s, user_id)
                case EventType.PARTICIPANT_VIDEO_ON:
                    policy.camera(now_s, user_id, on=True)
                case EventType.PARTICIPANT_VIDEO_OFF:
                    policy.camera(now_s, user_id, on=False)
                case _:
                    return
        self._follow()

    def _ready(self) -> VideoPolicy | None:
        """Return the policy, which asks for nothing while signaling is not up, or after the end."""
        policy, s = self.policy, self._s
        if policy is not None and (not s.uplink.is_up or s.outcome is not None):
            policy.down()
        return policy

    def _follow(self) -> None:
        """Do what follows for the policy."""
        assert self.policy is not None
        s = self._s
        for effect in self.policy.take_effects():
            match effect:
                case Ask(user_id, subscribe):
                    request = m.VideoSubscriptionReq(
                        user_id=user_id, subscribe=subscribe, timestamp=s.recording.zoom_ms
                    )
                    s.emit(Send(request))
                case Chosen():
                    s.emit(RecordVideoChoice(effect))
                    self._log(effect)
                case Settled():
                    s.emit(SettleVideoChoice(effect))
        if (known := self.policy.known) != self._kept:
            self._kept = known
            s.emit(KeepVideo(known))
        s.video_due_s = self.policy.due_s

    def _log(self, chosen: Chosen) -> None:
        """Of requests that fail in the same way the log hears once, until one succeeds."""
        fields = {"user_id": chosen.user_id, "status_code": chosen.status, "result": chosen.result.value}
        if chosen.result is Result.OK:
            self._logged = {}
        elif fields != self._logged:
            self._logged = fields
            self._s.emit(Log("warning", "video not subscribed", fields))
