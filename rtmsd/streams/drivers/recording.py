"""The recording driver: what the core decides is written down, and what it needs to know is looked up."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

import attrs
import structlog

from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.media_params import Difference, audio_format, differences
from rtmsd.protocol.messages import MediaParams
from rtmsd.recording.recorder import Recorder
from rtmsd.streams.core import actions as a

if TYPE_CHECKING:
    from rtmsd.streams.core.connections import MediaLink

log = structlog.get_logger()

_MAX_DIFFERENCES: Final = 100  # logged; an honest server has one for each field at most


class RecordingDriver:
    """The core's `Recording`.

    Attributes:
        numbers: the recorder's, of the connections that are up; None is signaling.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.numbers: dict[MediaLink | None, int] = {}
        self._recorder = recorder
        self._differences: frozenset[Difference] = frozenset()

    @property
    def zoom_ms(self) -> int:
        return self._recorder.zoom_ms

    @property
    def heard_in_pause_ms(self) -> int | None:
        return self._recorder.heard_in_pause_ms

    @property
    def messages(self) -> Counter[str]:
        return self._recorder.media.messages

    @property
    def is_short(self) -> bool:
        return self._recorder.media.backlog.is_short

    def heard_after(self, zoom_ms: int) -> bool:
        return self._recorder.heard_after(zoom_ms)

    def apply(self, action: a.Action) -> None:
        """Write down what happened."""
        recorder = self._recorder
        match action:
            case a.RecordState(state, why):
                recorder.state(state, why)
            case a.RecordStartedAgain(details):
                recorder.started_again(details)
            case a.RecordConnected(None):
                self.numbers[None] = recorder.connected("signaling", frozenset())
            case a.RecordConnected(link, granted) if link is not None and granted is not None:
                recorder.terms.granted(granted)
                self.numbers[link] = recorder.connected("media", link.media)
            case a.RecordLost(link, cause, why, in_order):
                recorder.lost(self.numbers.pop(link), cause, why, in_order=in_order)
            case a.RecordOutage(cause):
                recorder.same_outage(cause)
            case a.RecordPause(True, zoom_ms):
                recorder.paused(zoom_ms)
            case a.RecordPause(False, zoom_ms, by_now):
                recorder.resumed(zoom_ms, by_now=by_now)
            case a.RecordRefused(media, status, why):
                recorder.refused(media, status, why)
            case a.RecordVideoChoice(chosen):
                recorder.event("video_subscription", recorder.zoom_ms, **attrs.asdict(chosen))
            case a.KeepVideo(known):
                recorder.keep_video(known)
            case _:
                pass

    def prepare(self, asked: MediaParams, granted: MediaParams) -> Mapping[MediaType, str]:
        """Set the recorder up for what Zoom will send, which need not be what was asked for.

        Returns what of it cannot be stored, and why.
        """
        self._report(differences(asked, granted))
        if granted.audio is not None:
            try:
                self._recorder.media.audio_format(audio_format(granted.audio))
            except ValueError as unfit:
                return {MediaType.AUDIO: f"Zoom granted audio that cannot be stored: {unfit}"}
        if granted.video is not None:
            self._recorder.media.video_format(granted.video.codec, granted.video.fps)
        if granted.deskshare is not None:
            self._recorder.media.share_format(granted.deskshare.codec, granted.deskshare.fps)
        return {}

    def _report(self, found: Iterable[Difference]) -> None:
        """Log loudly, but once, that Zoom sends something else than was asked for."""
        for each in found:
            if each not in self._differences and len(self._differences) < _MAX_DIFFERENCES:
                self._differences |= {each}
                fields = {"field": f"{each.media}.{each.field}", "asked": each.asked, "got": each.got}
                log.error("Zoom sends other media than was asked for", **fields)
                self._recorder.event("media_changed", None, **fields)
