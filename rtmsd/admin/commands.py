"""The table of commands: the requests of the admin socket, the right that each demands, whom it concerns where several
processes are one daemon, and the daemon's side.
"""

import enum
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Protocol, TypeAlias

import attrs

from rtmsd.admin import cluster
from rtmsd.admin.cluster import ClusterBackend
from rtmsd.admin.messages import Access, AdminError, Code, JsonObject, Request, json_reply
from rtmsd.admin.metrics import METRICS_TYPE
from rtmsd.admin.tap import TapRecorder, TapRequest, check_expected, events_reply, tap_reply
from rtmsd.admin.video import read_choice
from rtmsd.http.messages import Reply, StreamReply
from rtmsd.sinks.hub import LiveHub
from rtmsd.streams.core.video.choice import Choice


class DeliveryBackend(Protocol):
    """Deliveries of finished recordings. An id is whatever number somebody wrote: NO_SUCH_DELIVERY for others."""

    async def listed(self) -> Sequence[JsonObject]: ...

    async def show(self, number: int) -> JsonObject: ...

    async def replay(self, number: int) -> JsonObject:
        """Have a dead one run again. Raises AdminError (REFUSED_IN_STATE) for any other."""


class AdminBackend(Protocol):
    """Implemented by the daemon. A stream's id passed in is one of `ids()`; a recording's is not checked before.

    Any method may raise AdminError to refuse (REFUSED_IN_STATE, ...); other foreseen errors become `failed`, and a
    ConfigError `bad_configuration` with its mistakes. Awaiting methods have no time limit but their own, and a client
    that hangs up does not cancel them.
    """

    @property
    def events(self) -> LiveHub:
        """The hub of all streams' events, as in `events.jsonl`."""

    @property
    def deliveries(self) -> DeliveryBackend: ...

    @property
    def cluster(self) -> ClusterBackend | None:
        """The cluster that this process is a member of."""

    def status(self) -> JsonObject: ...

    def ids(self) -> Iterable[str]:
        """The ids that `stream` knows: live streams, and ended ones still remembered."""

    def streams(self, *, include_ended: bool) -> Sequence[JsonObject]: ...

    def stream(self, rtms_stream_id: str) -> JsonObject: ...

    def recorder(self, rtms_stream_id: str) -> TapRecorder | None:
        """The recorder of a live stream; None when the stream has ended or does not record yet."""

    async def stop(self, rtms_stream_id: str) -> None:
        """End the stream politely, with STREAM_CLOSE_REQ."""

    async def reconnect(self, rtms_stream_id: str) -> None:
        """Drop the stream's connections and make new handshakes."""

    def video(self, rtms_stream_id: str) -> JsonObject:
        """The participant whose video is asked for, and why. Raises AdminError: REFUSED_IN_STATE where Zoom chooses."""

    async def choose_video(self, rtms_stream_id: str, choice: Choice) -> JsonObject:
        """Make an operator's choice, wait for Zoom's answer, and return what `video` does. Raises AdminError, as that,
        and: NOT_IN_STREAM; REFUSED_IN_STATE, by Zoom; TIMED_OUT.
        """

    async def reload(self) -> JsonObject:
        """Apply the changed configuration file: `{"changed": [{path, old, new, needs_restart}]}`, or ConfigError."""

    def drain(self) -> None: ...

    def undrain(self) -> None: ...

    async def shutdown(self, *, end_streams: bool) -> None:
        """Begin to stop. Without `end_streams`, live streams resume at the next start."""

    def metrics(self) -> bytes:
        """Prometheus text."""

    def config(self) -> JsonObject:
        """The configuration in force, secrets masked."""

    async def doctor(self) -> Sequence[JsonObject]:
        """Findings from the likeliest to the least likely: `{check, ok, detail, hint}`."""

    async def recordings(self) -> Sequence[JsonObject]: ...

    async def remove_recording(self, rtms_stream_id: str) -> None:
        """Raises AdminError: NO_SUCH_RECORDING; REFUSED_IN_STATE while its stream lives."""

    async def control_session(self, action: str, fields: dict[str, Any]) -> JsonObject:
        """Ask Zoom's REST API to `start`, `stop`, `pause` or `resume` a session's stream."""


Handler: TypeAlias = Callable[[AdminBackend, Request], Awaitable[Reply | StreamReply]]


class Spread(enum.Enum):
    """The workers that a command concerns. One process alone carries out each itself."""

    ANY = "any"  # whichever is asked: it is about what all share, or goes to the parent, which passes it on
    MERGE = "merge"  # all are asked, and their answers become one
    OWNER = "owner"  # the one that has the stream
    KEEPERS = "keepers"  # those that have it on their disk; to the others it is unknown
    ALL = "all"  # each does it


STREAM: Final = "{rtms_stream_id}"  # stands for a known stream in a path: its id, or a unique prefix of it


@attrs.frozen
class Command:
    """One request of the admin API.

    Attributes:
        path: its segments in braces match anything and become `params`; a prefix for `{rtms_stream_id}` is resolved to
            the whole id before the handler runs.
        query: its query parameters; any other is refused.
    """

    name: str
    method: str
    path: str
    access: Access
    spread: Spread
    handler: Handler
    query: frozenset[str] = frozenset()

    def params(self, segments: list[str]) -> dict[str, str] | None:
        """Return the placeholders of the path, filled from decoded `segments`; None when the path is another one."""
        pattern = self.path.split("/")[1:]
        if len(pattern) != len(segments):
            return None
        pairs = list(zip(pattern, segments, strict=True))
        if any(part != segment for part, segment in pairs if not part.startswith("{")):
            return None
        return {part.strip("{}"): segment for part, segment in pairs if part.startswith("{")}


def _answer(ask: Callable[[AdminBackend, Request], Any]) -> Handler:
    """Return the handler whose reply is what `ask` returns, at once or awaited, as JSON."""

    async def handle(backend: AdminBackend, request: Request) -> Reply:
        answer = ask(backend, request)
        return json_reply(await answer if isinstance(answer, Awaitable) else answer)

    return handle


_status: Final = _answer(lambda backend, request: backend.status())
_streams: Final = _answer(lambda backend, request: backend.streams(include_ended=request.flag("all")))
_stream: Final = _answer(lambda backend, request: backend.stream(request.params["rtms_stream_id"]))
_video: Final = _answer(lambda backend, request: backend.video(request.params["rtms_stream_id"]))
_reload: Final = _answer(lambda backend, request: backend.reload())
_config: Final = _answer(lambda backend, request: backend.config())
_doctor: Final = _answer(lambda backend, request: backend.doctor())
_recordings: Final = _answer(lambda backend, request: backend.recordings())
_deliveries: Final = _answer(lambda backend, request: backend.deliveries.listed())
_delivery: Final = _answer(lambda backend, request: backend.deliveries.show(_number(request)))
_replay_delivery: Final = _answer(lambda backend, request: backend.deliveries.replay(_number(request)))


async def _commands(backend: AdminBackend, request: Request) -> Reply:
    return json_reply(
        [{"name": c.name, "method": c.method, "path": c.path, "access": c.access.value} for c in COMMANDS]
    )


async def _stop(backend: AdminBackend, request: Request) -> Reply:
    await backend.stop(request.params["rtms_stream_id"])
    return json_reply({"rtms_stream_id": request.params["rtms_stream_id"]})


async def _reconnect(backend: AdminBackend, request: Request) -> Reply:
    await backend.reconnect(request.params["rtms_stream_id"])
    return json_reply({"rtms_stream_id": request.params["rtms_stream_id"]})


async def _choose_video(backend: AdminBackend, request: Request) -> Reply:
    choice = read_choice(request.json_object())
    return json_reply(await backend.choose_video(request.params["rtms_stream_id"], choice))


async def _tap(backend: AdminBackend, request: Request) -> StreamReply:
    wanted = TapRequest.parse(request.query)
    rtms_stream_id = request.params["rtms_stream_id"]
    recorder = backend.recorder(rtms_stream_id)
    if recorder is None:
        raise AdminError(
            Code.REFUSED_IN_STATE, "nothing is being recorded: the stream has ended or is not connected yet"
        )
    if (links := backend.stream(rtms_stream_id).get("links")) is not None:
        check_expected(wanted, links, named="media" in request.query)
    return tap_reply(wanted, rtms_stream_id, recorder, backend.events)


async def _events(backend: AdminBackend, request: Request) -> StreamReply:
    return events_reply(backend.events)


async def _drain(backend: AdminBackend, request: Request) -> Reply:
    backend.drain()
    return json_reply({"draining": True})


async def _undrain(backend: AdminBackend, request: Request) -> Reply:
    backend.undrain()
    return json_reply({"draining": False})


async def _shutdown(backend: AdminBackend, request: Request) -> Reply:
    end_streams = request.flag("end_streams")
    await backend.shutdown(end_streams=end_streams)
    return json_reply({"stopping": True, "end_streams": end_streams})


async def _metrics(backend: AdminBackend, request: Request) -> Reply:
    return Reply(content_type=METRICS_TYPE, body=backend.metrics())


async def _remove_recording(backend: AdminBackend, request: Request) -> Reply:
    await backend.remove_recording(request.params["recording"])
    return json_reply({"rtms_stream_id": request.params["recording"]})


def _number(request: Request) -> int:
    text = request.params["delivery"]
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise AdminError(Code.NO_SUCH_DELIVERY, f"no delivery has the id {text!r}: ids are numbers of up to 18 digits")
    return int(text)


async def _control_session(backend: AdminBackend, request: Request) -> Reply:
    action = request.params["action"]
    if action not in SESSION_ACTIONS:
        raise AdminError(
            Code.NO_SUCH_PATH, f"the actions on a session are {', '.join(SESSION_ACTIONS)}, not {action!r}"
        )
    return json_reply(await backend.control_session(action, dict(request.json_object())))


SESSION_ACTIONS: Final = ("start", "stop", "pause", "resume")

_ALL: Final = frozenset({"all"})
_TAP_QUERY: Final = frozenset({"media", "format", "user_id"})

COMMANDS: Final[tuple[Command, ...]] = (
    Command("commands", "GET", "/v1/commands", Access.READ, Spread.ANY, _commands),
    Command("status", "GET", "/v1/status", Access.READ, Spread.MERGE, _status),
    Command("streams", "GET", "/v1/streams", Access.READ, Spread.MERGE, _streams, _ALL),
    Command("stream", "GET", f"/v1/streams/{STREAM}", Access.READ, Spread.OWNER, _stream),
    Command("tap", "GET", f"/v1/streams/{STREAM}/tap", Access.READ, Spread.OWNER, _tap, _TAP_QUERY),
    Command("stop", "POST", f"/v1/streams/{STREAM}/stop", Access.CONTROL, Spread.OWNER, _stop),
    Command("reconnect", "POST", f"/v1/streams/{STREAM}/reconnect", Access.CONTROL, Spread.OWNER, _reconnect),
    Command("video", "GET", f"/v1/streams/{STREAM}/video", Access.READ, Spread.OWNER, _video),
    Command("choose video", "POST", f"/v1/streams/{STREAM}/video", Access.CONTROL, Spread.OWNER, _choose_video),
    Command("events", "GET", "/v1/events", Access.READ, Spread.MERGE, _events),
    Command("reload", "POST", "/v1/reload", Access.CONTROL, Spread.ALL, _reload),
    Command("drain", "POST", "/v1/drain", Access.CONTROL, Spread.ALL, _drain),
    Command("undrain", "POST", "/v1/undrain", Access.CONTROL, Spread.ALL, _undrain),
    Command("shutdown", "POST", "/v1/shutdown", Access.CONTROL, Spread.ANY, _shutdown, frozenset({"end_streams"})),
    Command("metrics", "GET", "/v1/metrics", Access.READ, Spread.MERGE, _metrics),
    Command("config", "GET", "/v1/config", Access.READ, Spread.ANY, _config),
    Command("doctor", "GET", "/v1/doctor", Access.READ, Spread.MERGE, _doctor),
    Command("recordings", "GET", "/v1/recordings", Access.READ, Spread.ANY, _recordings),
    Command(
        "remove recording", "DELETE", "/v1/recordings/{recording}", Access.CONTROL, Spread.OWNER, _remove_recording
    ),
    Command("deliveries", "GET", "/v1/deliveries", Access.READ, Spread.ANY, _deliveries),
    Command("delivery", "GET", "/v1/deliveries/{delivery}", Access.READ, Spread.ANY, _delivery),
    Command(
        "replay delivery", "POST", "/v1/deliveries/{delivery}/replay", Access.CONTROL, Spread.ANY, _replay_delivery
    ),
    Command("control session", "POST", "/v1/session/{action}", Access.CONTROL, Spread.ANY, _control_session),
    Command("cluster", "GET", "/v1/cluster", Access.READ, Spread.ANY, cluster.status),
    Command("cluster streams", "GET", "/v1/cluster/streams", Access.READ, Spread.ANY, cluster.streams, _ALL),
    Command("drain node", "POST", "/v1/cluster/nodes/{node}/drain", Access.CONTROL, Spread.ANY, cluster.drain),
    Command("undrain node", "POST", "/v1/cluster/nodes/{node}/undrain", Access.CONTROL, Spread.ANY, cluster.undrain),
    Command("move stream", "POST", "/v1/cluster/streams/{stream}/move", Access.CONTROL, Spread.ANY, cluster.move),
    Command("gather", "POST", "/v1/cluster/streams/{stream}/gather", Access.CONTROL, Spread.ANY, cluster.gather),
)
