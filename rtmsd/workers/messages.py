"""The messages between the parent and its workers: a line of JSON each. Pure.

Both ends are of one version, and nobody else can write there. Still no line may end a process: whatever is not one of
these messages, with values of these types, is `Unreadable`.
"""

import base64
import json
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
from attrs import field, validators

from rtmsd.config import Config
from rtmsd.sinks.deliveries import Figures

MAX_LINE_BYTES: Final = 2**20


class Unreadable(ValueError):
    """A line is not a message."""


_TEXT: Final = validators.instance_of(str)
_NUMBER: Final = validators.instance_of(int)
_FLAG: Final = validators.instance_of(bool)
_ADDRESSES: Final = validators.deep_mapping(_TEXT, validators.deep_iterable(_TEXT))
_DESCRIPTORS: Final = validators.deep_mapping(_TEXT, validators.deep_iterable(_NUMBER))


def _configuration(value: Config | str) -> Config:
    """Return a configuration, secrets and all, that came from the process which read the file."""
    if isinstance(value, Config):
        return value
    found = pickle.loads(base64.b64decode(value, validate=True))
    if not isinstance(found, Config):
        raise TypeError("not a configuration")
    return found


def _inherited(value: "Inherited | Mapping[str, Any] | None") -> "Inherited | None":
    return Inherited(**value) if isinstance(value, Mapping) else value


def _peers(values: Sequence[Any]) -> "tuple[Peer, ...]":
    return tuple(value if isinstance(value, Peer) else Peer(**value) for value in values)


def _figures(value: Figures | Mapping[str, Any]) -> Figures:
    return value if isinstance(value, Figures) else Figures(**value)


@attrs.frozen(kw_only=True)
class Peer:
    """A worker, as the parent knows it from its last `Pong`."""

    node: str = field(validator=_TEXT)
    incarnation: str = field(validator=_TEXT)
    streams: int = field(validator=_NUMBER)
    is_draining: bool = field(validator=_FLAG)
    is_ready: bool = field(validator=_FLAG)


@attrs.frozen(kw_only=True)
class Inherited:
    """The state file and the directories of recordings that the parent has open and locked for all workers.

    Attributes:
        state_lock: descriptors of the lock on the state file.
        set_aside: where the parent moved a damaged state file; None: it was sound.
        salvaged: the number of streams that could be read from that one.
        directories: descriptors of the locks on directories of recordings, by path.
    """

    state_lock: Sequence[int] = field(validator=validators.deep_iterable(_NUMBER))
    set_aside: str | None = field(validator=validators.optional(_TEXT))
    salvaged: int = field(validator=_NUMBER)
    directories: Mapping[str, Sequence[int]] = field(validator=_DESCRIPTORS)

    @property
    def descriptors(self) -> list[int]:
        return [*self.state_lock, *(number for numbers in self.directories.values() for number in numbers)]


# From the parent


@attrs.frozen(kw_only=True)
class Begin:
    """The first message: what a worker is, and what it was given.

    Attributes:
        version: of rtmsd, as the parent runs it.
        config: in force, as the file has it.
        workers: how many there are to be.
        sockets: descriptors of listening sockets, by the name of their door.
        disk: that all share; None: each has its own, as members of a cluster have.
        members: those that live now, the receiver among them.
        is_draining: no new streams, by order of an operator.
        parent_began_s: by `time.monotonic`, which all processes share.
        parent_pid: for status.
    """

    version: str = field(validator=_TEXT)
    node: str = field(validator=_TEXT)
    incarnation: str = field(validator=_TEXT)
    config_path: str = field(validator=_TEXT)
    config: Config = field(converter=_configuration, repr=False)
    sockets: Mapping[str, Sequence[int]] = field(validator=_DESCRIPTORS)
    disk: Inherited | None = field(
        converter=_inherited, validator=validators.optional(validators.instance_of(Inherited))
    )
    members: "tuple[Peer, ...]" = field(converter=_peers)
    workers: int = field(validator=_NUMBER)
    is_draining: bool = field(validator=_FLAG)
    parent_pid: int = field(validator=_NUMBER)
    parent_began_s: float = field(validator=validators.instance_of(float))


@attrs.frozen
class Peers:
    """The table of all living workers, the receiver among them; every second, and at once when one came or went."""

    members: tuple[Peer, ...] = field(converter=_peers)


@attrs.frozen
class Died:
    """A worker is dead: whatever it owned is to be taken over."""

    incarnation: str = field(validator=_TEXT)


@attrs.frozen
class Ping:
    """To be answered by a `Pong` with this number, if all goes well."""

    number: int = field(validator=_NUMBER)


@attrs.frozen
class Apply:
    """A new configuration is in force, this one of the file. Answered by `Applied`."""

    config: Config = field(converter=_configuration, repr=False)


@attrs.frozen
class Drain:
    """Take no new streams, or some again. From a worker: an operator wants that.

    Attributes:
        node: the worker that is meant; None: all.
    """

    on: bool = field(validator=_FLAG)
    node: str | None = field(default=None, validator=validators.optional(_TEXT))


@attrs.frozen
class Stop:
    """Stop; a second one shortens what is left. From a worker: an operator wants all to stop."""

    end_streams: bool = field(validator=_FLAG)


@attrs.frozen
class Held:
    """Nothing is delivered of this stream any more, as `Hold` asked for."""

    rtms_stream_id: str = field(validator=_TEXT)


@attrs.frozen
class Delivered:
    """How deliveries stand."""

    figures: Figures = field(converter=_figures)


# From a worker


@attrs.frozen
class Joined:
    """It answers the others and can take streams. Its doors open when it has taken its share of those without owner."""


@attrs.frozen
class Ready:
    """Its doors are open."""

    listening: Mapping[str, Sequence[str]] = field(validator=_ADDRESSES)


@attrs.frozen(kw_only=True)
class Pong:
    """An answer to a `Ping`: its event loop runs, and so do its threads that write.

    Attributes:
        troubles: codes of those that it has.
    """

    number: int = field(validator=_NUMBER)
    streams: int = field(validator=_NUMBER)
    pending_bytes: int = field(validator=_NUMBER)
    is_draining: bool = field(validator=_FLAG)
    troubles: Sequence[str] = field(validator=validators.deep_iterable(_TEXT))


@attrs.frozen
class Applied:
    """`Apply` was carried out."""


@attrs.frozen
class Reload:
    """An operator wants the file to be read again, which this worker found good."""


@attrs.frozen
class Due:
    """A delivery is due now: a stream has ended, or a dead delivery was replayed."""


@attrs.frozen
class Hold:
    """Deliver nothing of this stream until `Release`, and kill what runs: it is being deleted. Answered by `Held`."""

    rtms_stream_id: str = field(validator=_TEXT)


@attrs.frozen
class Release:
    """The journal has closed the stream: what is due of it may be delivered."""

    rtms_stream_id: str = field(validator=_TEXT)


ToWorker: TypeAlias = Begin | Peers | Died | Ping | Apply | Drain | Stop | Held | Delivered
ToParent: TypeAlias = Joined | Ready | Pong | Applied | Reload | Drain | Stop | Due | Hold | Release
Message: TypeAlias = ToWorker | ToParent

_KINDS: Final[Mapping[str, type[Message]]] = {
    kind.__name__.lower(): kind
    for kind in (
        *(Begin, Peers, Died, Ping, Apply, Drain, Stop, Held, Delivered),
        *(Joined, Ready, Pong, Applied, Reload, Due, Hold, Release),
    )
}


def encode(message: Message) -> bytes:
    """Return the line of a message."""
    fields = {
        name: base64.b64encode(pickle.dumps(value)).decode() if isinstance(value, Config) else _plain(value)
        for name, value in attrs.asdict(message, recurse=False).items()
    }
    return json.dumps({"what": type(message).__name__.lower(), **fields}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Return the message of a line.

    Raises:
        Unreadable: there is none in it.
    """
    try:
        fields = json.loads(line)
        kind = _KINDS[fields.pop("what")]
        return kind(**fields)
    except Exception as exc:  # pickle raises any
        raise Unreadable(f"{line[:80]!r}: {type(exc).__name__}") from exc


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        return attrs.asdict(value)
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
