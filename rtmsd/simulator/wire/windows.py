"""The windows in which a server waits for a lost client."""

from rtmsd.protocol.enums import MediaType, StopReason
from rtmsd.simulator.model.settings import Timing


class Windows:
    """The deadlines of one stream, in Zoom's milliseconds. The first one is for the first attachment.

    Attributes:
        lost_media: the media lost and not yet restored. While signaling is lost, too, only its window counts.
    """

    def __init__(self, timing: Timing, now_ms: int) -> None:
        self.lost_media = MediaType(0)
        self._timing = timing
        self._signaling_reason = StopReason.CONNECTION_TIMEOUT
        self._signaling_until_ms: int | None = now_ms + int(timing.attach_window_s * 1000)
        self._media_until_ms: int | None = None

    def signaling_lost(self, media: MediaType, now_ms: int) -> None:
        """Wait for signaling, lost together with `media`."""
        self.lost_media |= media
        self._signaling_reason = StopReason.AWAIT_RECONNECTION_TIMEOUT
        self._signaling_until_ms = now_ms + int(self._timing.signaling_window_s * 1000)
        self._media_until_ms = None

    def signaling_back(self) -> None:
        self._signaling_until_ms = None

    def media_lost(self, media: MediaType, now_ms: int) -> None:
        """Wait for `media`, no longer than for media lost earlier."""
        self.lost_media |= media
        if self._media_until_ms is None:
            self._media_until_ms = now_ms + int(self._timing.media_window_s * 1000)

    def media_back(self, media: MediaType) -> None:
        self.lost_media &= ~media
        if not self.lost_media:
            self._media_until_ms = None

    def missed(self, now_ms: int) -> StopReason | None:
        """Return the stop reason once a window has passed."""
        if self._signaling_until_ms is not None and now_ms >= self._signaling_until_ms:
            return self._signaling_reason
        if self._media_until_ms is not None and now_ms >= self._media_until_ms:
            return StopReason.AWAIT_RECONNECTION_TIMEOUT
        return None
