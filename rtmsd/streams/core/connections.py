"""The connections of a stream as the core sees them: where each one is, what is asked for on it, and its attempts."""

import enum
import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import attrs

from rtmsd.config.model import StreamsConfig
from rtmsd.errors import ConnectionLost, HandshakeRejected, LocalProtocolError, RemoteProtocolError
from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.media_types import names_of
from rtmsd.streams.core.reconnect import Attempts, Backoff, Permission, Window

GRANTED_WITHOUT: Final = "Zoom's answer grants other media only"

OVERDUE_S: Final = 15.0  # where nothing else flows, Zoom sends a keep-alive every 10 s


class LinkState(enum.Enum):
    IDLE = "idle"  # signaling is not up
    CONNECTING = "connecting"
    STREAMING = "streaming"
    LOST = "lost"  # waiting for the next attempt
    REFUSED = "refused"  # Zoom will not, or cannot, give these media: no further attempt


TRYING: Final = frozenset({LinkState.CONNECTING, LinkState.LOST})
_OPEN_LINK: Final = frozenset({LinkState.CONNECTING, LinkState.STREAMING})


class SuspectedLoss(ConnectionLost):
    """We closed it ourselves, perhaps wrongly."""


class MediaNotGranted(RemoteProtocolError):
    """A media handshake succeeded, but not for all that was asked for, or with what cannot be stored.

    Attributes:
        whys: of each of these media, why.
    """

    def __init__(self, whys: Mapping[MediaType, str]) -> None:
        super().__init__("; ".join(dict.fromkeys(whys.values())))
        self.whys = whys


@attrs.frozen
class Suspicion:
    """Zoom says that some media connection broke: if this one stays silent until `due_s`, it is the one.

    Attributes:
        since_s: when Zoom said so.
        heard_s: when the connection had been heard last.
        is_sure: silence proves it, although another one was lost meanwhile.
    """

    since_s: float
    due_s: float
    heard_s: float
    is_sure: bool


@attrs.define(eq=False)
class MediaLink:
    """One media connection. It outlives the sockets and the signaling connections under it.

    Attributes:
        types: the media asked for on this connection; a type that Zoom does not give is taken out.
        why: the latest loss or refusal.
        was_up: whether it was ever connected.
        lost_s: when it was last lost other than by a mere suspicion.
        warned: of which trouble the log knows.
        heard_s: when the socket last brought a whole frame; kept by the driver, as all below.
        keep_alives: how many requests were answered.
        ignored: what was read and ignored, by kind.
        is_held_back: whether it is us who do not listen, for want of room.
    """

    types: MediaType
    window: Window
    backoff: Backoff
    state: LinkState = LinkState.IDLE
    why: str = ""
    was_up: bool = False
    lost_s: float = -math.inf
    warned: str = ""
    suspicion: Suspicion | None = None
    heard_s: float = 0.0
    keep_alives: int = 0
    ignored: Counter[str] = attrs.field(factory=Counter)
    is_held_back: Callable[[], bool] = attrs.field(default=lambda: False, repr=False)
    attempts: Attempts = attrs.field(init=False)
    _all_types: MediaType = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.attempts = Attempts(self.window)
        self._all_types = self.types

    @property
    def media(self) -> frozenset[str]:
        return names_of(self.types)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, or an attempt at one."""
        return self.state in _OPEN_LINK

    @property
    def is_lost(self) -> bool:
        return self.was_up and self.state in TRYING

    def is_silent(self, now_s: float, for_s: float) -> bool:
        """Whether it is connected and heard neither media nor keep-alives for so long, although it was read."""
        return self.state is LinkState.STREAMING and now_s - self.heard_s > for_s and not self.is_held_back()

    def forget_loss(self) -> None:
        """Zoom moved the stream to another server, which allows a whole window again, and may give what it refused."""
        self.window.close()
        self.ask_for_all()

    def ask_for_all(self) -> None:
        """Ask for what was refused, too, when the stream is connected next."""
        self.types = self._all_types
        if self.state is LinkState.REFUSED:
            self.state = LinkState.IDLE

    def suspect(self, now_s: float, delay_s: float, *, is_sure: bool) -> None:
        """Watch it for silence, unless it is being watched already."""
        if self.state is LinkState.STREAMING and self.suspicion is None:
            self.suspicion = Suspicion(now_s, now_s + delay_s, self.heard_s, is_sure)

    def went_silent(self, suspected: Suspicion) -> bool:
        """Whether it has said nothing since it was suspected."""
        return self.state is LinkState.STREAMING and self.heard_s == suspected.heard_s


# Signaling

DRAIN_S: Final = 0.1  # after signaling is gone, for media that are already in our socket buffers
READ_OUT_S: Final = 1.0  # the same of a stream that is let go: nobody else has them
TRIAL_S: Final = 30.0  # who really has the stream has thrown us out by then


class UplinkState(enum.Enum):
    NEW = enum.auto()  # nobody runs the stream yet
    WAITING = enum.auto()  # for the next attempt
    ASKING_WHY = enum.auto()  # Zoom does not know the stream: the webhook that says why may be on its way
    CONNECTING = enum.auto()
    UP = enum.auto()
    LOST = enum.auto()  # its socket is being closed
    DROPPED = enum.auto()  # as LOST, but by us
    DRAINING = enum.auto()  # it is closed; media connections that belong to it are not yet


_S = UplinkState
_MOVES: Final[Mapping[UplinkState, frozenset[UplinkState]]] = {
    _S.NEW: frozenset({_S.CONNECTING}),
    _S.WAITING: frozenset({_S.CONNECTING}),
    _S.ASKING_WHY: frozenset({_S.WAITING, _S.CONNECTING}),
    _S.CONNECTING: frozenset({_S.UP, _S.DROPPED, _S.DRAINING, _S.ASKING_WHY}),
    _S.UP: frozenset({_S.LOST, _S.DROPPED, _S.DRAINING}),
    _S.LOST: frozenset({_S.DRAINING}),
    _S.DROPPED: frozenset({_S.DRAINING}),
    _S.DRAINING: frozenset({_S.WAITING}),
}
_OPEN: Final = frozenset({_S.CONNECTING, _S.UP, _S.LOST, _S.DROPPED})


class Uplink:
    """The signaling connection: one for each stream, so that there is never a second attempt beside the first.

    Attributes:
        url: of the signaling server.
        media_urls: as the latest handshake named them.
        dropping: why we close the connections ourselves, until signaling is up again; None: we do not.
        drop_s: when the present connection is dropped, with its media.
        drain_s: when media connections are closed that belonged to a signaling connection that is gone.
        hurried: the next attempt is made at once.
        asked_until_s, refused: of `ASKING_WHY`.
        was_up: whether the present connection ever was.
        warned: of which trouble the log knows.
        zoom_ms: Zoom's time in the latest message of the present connection; None: there was none yet.
        transfer_s: when it was last closed as for a transfer, and connected again at once.
        permission: to make the present attempt.
        up_s: when the present connection came up.
        held_since_s: since when Zoom says nothing but that another connection has the slot; infinity: it does not.
        keep_alives: how many requests were answered, on all connections; kept by the driver, as `ignored`.
        ignored: what was read and ignored, by kind.
    """

    def __init__(self, url: str, limits: StreamsConfig) -> None:
        self.state = UplinkState.NEW
        self.url = url
        self.media_urls: Mapping[str, str] = {}
        self.dropping: GapCause | None = None
        self.drop_s = self.drain_s = math.inf
        self.hurried = False
        self.was_up = False
        self.asked_until_s = math.inf
        self.refused: HandshakeRejected | None = None
        self.warned = ""
        self.zoom_ms: int | None = None
        self.transfer_s = -math.inf
        self.keep_alives = 0
        self.ignored: Counter[str] = Counter()
        self.window = Window(limits.signaling_window_s)
        self.attempts = Attempts(self.window)
        self.backoff = Backoff(limits.reconnect_delay_s, limits.reconnect_delay_max_s)
        self.permission = Permission.GRANTED
        self.up_s = -math.inf
        self.held_since_s = math.inf
        self._held_alarm_s = limits.keep_alive_timeout_s + limits.signaling_window_s

    @property
    def is_up(self) -> bool:
        return self.state is UplinkState.UP

    @property
    def is_open(self) -> bool:
        """Whether there is a connection, or an attempt at one, also while it is being closed."""
        return self.state in _OPEN

    def is_on_trial(self, now_s: float) -> bool:
        """Whether it came up blindly, and so lately that whoever has the stream may just have thrown it out."""
        return self.permission is Permission.BLIND and self.was_up and now_s - self.up_s < TRIAL_S

    def move(self, state: UplinkState) -> None:
        """Raises LocalProtocolError where the table has no such move."""
        if state not in _MOVES[self.state]:
            raise LocalProtocolError(f"signaling cannot be {state.name} after {self.state.name}")
        self.state = state

    def begin(self) -> None:
        """An attempt begins."""
        self.move(UplinkState.CONNECTING)
        self.attempts.begin()
        self.forget_drops()
        self.hurried = self.was_up = False
        self.permission = Permission.GRANTED
        self.zoom_ms = None

    def came_up(self, now_s: float, media_urls: Mapping[str, str]) -> None:
        """The handshake succeeded: the next loss begins with short delays."""
        self.move(UplinkState.UP)
        self.up_s = now_s
        self.media_urls = media_urls
        self.was_up = True
        self.warned = ""
        self.backoff.reset()
        self.held_since_s = math.inf
        self.attempts.succeed()
        if self.drop_s == math.inf:  # else this one, too, is to go: it came up to the server of before
            self.dropping = None

    def slot_held(self, now_s: float) -> None:
        """Another connection has the slot: the stream lives, so no time runs until Zoom says something else."""
        self.held_since_s = min(self.held_since_s, now_s)
        self.window.close()

    def is_held_too_long(self, now_s: float) -> bool:
        """Whether another has the slot for longer than Zoom takes to give up one of ours that is dead."""
        return now_s - self.held_since_s >= self._held_alarm_s

    def drop(self, now_s: float, cause: GapCause) -> None:
        """End the present connection and its media, after what is already in our socket buffers."""
        self.dropping = cause
        if self.state in _OPEN or self.state is UplinkState.DRAINING:
            self.drop_s = min(self.drop_s, now_s + DRAIN_S)

    def forget_drops(self) -> None:
        self.drop_s = self.drain_s = self.asked_until_s = math.inf

    def ask_why(self, now_s: float, refused: HandshakeRejected, grace_s: float) -> None:
        self.move(UplinkState.ASKING_WHY)
        self.refused, self.asked_until_s = refused, now_s + grace_s

    def plan(self, now_s: float, delay_s: float, attempt_s: float) -> None:
        """Plan the next attempt, or the end of the window, which does not run while another has the slot."""
        self.move(UplinkState.WAITING)
        self.forget_drops()
        if math.isinf(self.held_since_s):
            self.window.open(now_s)
        next_s = self.window.next_attempt(now_s, delay_s, attempt_s)
        self.attempts.plan(now_s if self.hurried else next_s)

    def hurry(self, now_s: float, attempt_s: float) -> None:
        """Make the next attempt at once."""
        self.hurried = True
        if self.state is UplinkState.ASKING_WHY:
            self.plan(now_s, 0.0, attempt_s)
        elif self.state is UplinkState.WAITING:
            self.attempts.next_s = now_s
