"""The driver of a stream: a nursery in which its connections and its timer live, as the core decides."""

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Concatenate, Final

import structlog
import trio

from rtmsd.config.media import MediaConfig
from rtmsd.config.model import AppConfig, Config
from rtmsd.protocol.causes import GapCause, RecordingState
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.media_params import with_defaults
from rtmsd.protocol.products import product_of
from rtmsd.protocol.signature import handshake_signature
from rtmsd.recording.recorder import Recorder
from rtmsd.state.rows import StreamRow
from rtmsd.streams.core import actions as a
from rtmsd.streams.core.outcome import LetGo, Outcome, failed
from rtmsd.streams.core.phase import OVER
from rtmsd.streams.core.situation import Situation
from rtmsd.streams.core.stream_core import StreamCore
from rtmsd.streams.core.video.choice import Follow
from rtmsd.streams.core.video.policy import VideoPolicy
from rtmsd.streams.drivers.context import Context, P
from rtmsd.streams.drivers.diagnostics import Diagnostics
from rtmsd.streams.drivers.media import MediaDriver
from rtmsd.streams.drivers.messages import MessageWriter
from rtmsd.streams.drivers.recording import RecordingDriver
from rtmsd.streams.drivers.signaling import SignalingDriver, subscription
from rtmsd.streams.drivers.tenure import Tenure
from rtmsd.streams.drivers.video import Operators
from rtmsd.streams.drivers.watchdog import Watchdog

log = structlog.get_logger()

UNREAD_LIMIT_S: Final = 20.0
"""An unread socket cannot answer its keep-alive: after this time it is read again, and frames are dropped."""


class Stream:
    """All methods but `run` are synchronous and may come at any time.

    Attributes:
        nursery: for tasks that must not outlive the stream; there is one while it runs.
        core: decides, on what is in `situation`.
        operators: who wait for Zoom's answer to their choice of a participant's video.
    """

    def __init__(
        self,
        row: StreamRow,
        app: AppConfig,
        settings: Config,
        recorder: Recorder,
        *,
        diagnostics: Diagnostics,
        wait_room: Callable[[float], Awaitable[None]],
        tenure: Tenure,
        cause: GapCause | None,
    ) -> None:
        self.recorder = recorder
        self.nursery: trio.Nursery
        self._app, self._takeover_cause = row.app, tenure.takeover_cause
        self._diagnostics = diagnostics
        self._recording = RecordingDriver(recorder)
        self._timer = trio.CancelScope()
        self._wake_s = self._look_s = math.inf  # when the core, and when the watchdog, is due
        requested = settings.media.requested
        self.situation = Situation(
            row.server_urls or "",
            settings.streams,
            self._recording,
            connections=_connections(settings.media),
            recorded=RecordingState(recorder.state_name),
            cause=cause,
            transfers=product_of(row.product).transfers,
        )
        video = _video_policy(settings.media, row.product, recorder.video)
        at_once = requested if video is None else requested & ~MediaType.VIDEO  # cameras, once video is connected
        events = subscription(row.product, at_once, app.event_codes)
        self.core = StreamCore(row.rtms_stream_id, self.situation, events, video)
        self.operators = Operators(lambda choice: self.report(self.core.video.choose, choice))
        context = Context(
            row=row,
            app=app,
            signature=handshake_signature(app.client_id, app.client_secret, row.session.id, row.rtms_stream_id),
            settings=settings,
            media_params=settings.media.params(),
            core=self.core,
            report=self.report,
            recorder=recorder,
            recording=self._recording,
            writer=MessageWriter(recorder, row.product),
            diagnostics=diagnostics,
            watchdog=Watchdog(settings.streams.keep_alive_timeout_s),
            tenure=tenure,
            wait_room=partial(wait_room, UNREAD_LIMIT_S),
        )
        self._watchdog = context.watchdog
        self._signaling = SignalingDriver(context)
        self._media = {link: MediaDriver(context, link) for link in self.situation.links}
        recorder.flusher.on_broken = lambda: self.report(
            self.situation.decide, failed("a bug of ours kept it from the disk, see the log")
        )
        recorder.terms.asked(with_defaults(context.media_params, requested))

    async def run(self) -> Outcome | LetGo:
        """Live until the end, or until it is let go. Cancelled from outside, it leaves the slot at Zoom as it is, to be
        resumed.
        """
        async with trio.open_nursery() as self.nursery:
            self._look_s = self._watchdog.look(trio.current_time())
            self.report(self.core.start)
            await self._keep_time()
            self.nursery.cancel_scope.cancel()
        self.operators.leave()
        result = self.situation.letting_go or self.situation.outcome
        assert result is not None
        return result

    async def _keep_time(self) -> None:
        """Until the end, wake the core when something is due, a reconnection, the end of a window or of the stream; the
        watchdog, too. A task of its own for that would take 2.6 KB.
        """
        while self.situation.phase not in OVER:
            with trio.CancelScope(deadline=min(self._wake_s, self._look_s)) as self._timer:
                await trio.sleep_forever()
            now_s = trio.current_time()
            if now_s >= self._look_s:
                self._look_s = self._watchdog.look(now_s)
            if now_s >= self._wake_s:
                self.report(self.core.tick)

    def report(self, decide: Callable[Concatenate[float, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Give the core an input, now, and do what follows from it."""
        now_s = trio.current_time()
        decide(now_s, *args, **kwargs)
        for action in self.situation.take_actions(now_s):
            match action:
                case a.Connect():
                    self._signaling.open(self.nursery, action)
                case a.Send(message):
                    self._signaling.send(message)
                case a.Drop():
                    self._signaling.drop()
                case a.OpenMedia(link):
                    self._media[link].open(self.nursery, action)
                case a.CloseMedia(link, lost):
                    self._media[link].close(lost)
                case a.NoteMedia(media, first):
                    self._diagnostics.media_granted(self._app, media)
                    if first:
                        self._diagnostics.connected(self._app)
                case a.SettleVideoChoice(settled):
                    self.operators.settle(settled)
                case a.Log(level, event, fields):
                    getattr(log, level)(event, **fields)
                case a.Wait(until_s):
                    self._wake_s = until_s
                    self._timer.deadline = min(until_s, self._look_s)
                case a.End() | a.Leave():
                    self._timer.cancel()
                case _:
                    self._recording.apply(action)
                    if isinstance(action, a.RecordRefused):
                        self._diagnostics.media_refused(self._app, self.core.rtms_stream_id, action.media, action.why)

    def reconnect(self) -> None:
        self.report(self.core.reconnect)

    def let_go(self, why: str) -> None:
        """Leave it to somebody else, unless its end is decided."""
        self.report(self.core.signaling.let_go, why, self._takeover_cause)


def _connections(media: MediaConfig) -> tuple[MediaType, ...]:
    if media.connections == "unified":
        return (media.requested,)
    return tuple(bit for bit in MediaType if bit & media.requested)


def _video_policy(media: MediaConfig, product: str, known: object) -> VideoPolicy | None:
    """Return who decides whose video comes, where Zoom is asked for one participant's; `known`: as was kept of it."""
    is_asked = MediaType.VIDEO in media.requested and MediaType.VIDEO in product_of(product).events.with_media
    if media.video.streams != "individual" or not is_asked:
        return None
    policy = VideoPolicy(Follow(media.video.follow), media.video.switch_after_s)
    policy.restore(known)
    return policy
