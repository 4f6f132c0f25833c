"""The answers of a stream to messages 1 and 3, the handshakes of signaling and media."""

import functools
from collections.abc import Iterable
from typing import Final

import trio

from rtmsd.protocol.enums import MediaType, StatusCode
from rtmsd.protocol.media_types import SECTIONS
from rtmsd.protocol.messages import DataHandshakeResp, SignalingHandshakeResp
from rtmsd.simulator.model.record import Handshake
from rtmsd.simulator.stream import checks
from rtmsd.simulator.stream.phase import OVER, SimPhase
from rtmsd.simulator.stream.stream import Route
from rtmsd.simulator.wire.connection import ConnectionKind, ConnectionState, SimConnection

_OCCUPIED: Final = (StatusCode.MEDIA_DATA_ALL_CONNECTION_EXIST, StatusCode.DUPLICATE_MEDIA_DATA_CONNECTION)


def shake_hands(connection: SimConnection, route: Route, raw: str | bytes) -> bool:
    """Answer the first message of a connection; return whether it was accepted."""
    return (_shake_media if route.media else _shake_signaling)(connection, route, raw)


def _shake_signaling(connection: SimConnection, route: Route, raw: str | bytes) -> bool:
    stream = route.stream
    holder = stream.signaling
    occupied = holder is not None and stream.duplicate_signaling == "refuse"
    answer, fields = checks.signaling_handshake(raw, _expected(route), occupied=occupied)
    rival = holder if answer.status in (StatusCode.OK, StatusCode.DUPLICATE_SIGNAL_REQUEST) else None
    if rival is not None and occupied:
        _contest([rival], connection)
    answer = _judged(connection, route, answer, MediaType(0), rival=rival)
    if answer.status is not StatusCode.OK:
        connection.send(
            SignalingHandshakeResp(
                status_code=answer.status, reason=answer.reason, protocol_version=stream.protocol_version
            )
        )
        return False
    if rival is not None:
        stream.evict()
    if stream.phase is SimPhase.AWAITING and fields.get("buffer_data") is False:
        stream.feed.give_up(stream.now_ms)
    stream.signaling_up(connection)
    names = [*(name for name, bit in SECTIONS.items() if bit in stream.media), "all"]
    urls = {name: stream.new_url(f"media/{name}", name) for name in names}
    if stream.addresses == "srt":
        urls = {name: f"srt://{url.partition('://')[2]}" for name, url in urls.items()}
    connection.send(
        SignalingHandshakeResp(status_code=0, media_urls=urls, protocol_version=stream.protocol_version, sequence=1)
    )
    return True


def _shake_media(connection: SimConnection, route: Route, raw: str | bytes) -> bool:
    stream = route.stream
    strict = stream.host.settings.strict
    judge = functools.partial(
        checks.media_handshake,
        raw,
        _expected(route, needs_signaling=True),
        allowed=stream.media,
        taken=stream.links.media_types,
    )
    grant = judge(strict=strict)
    lenient = grant.answer.status is not StatusCode.OK and judge(strict=False).answer.status is StatusCode.OK
    if grant.answer.status in _OCCUPIED:
        _contest(stream.links.media, connection)
    answer = _judged(connection, route, grant.answer, grant.media_type, lenient=lenient)
    if answer.status is not StatusCode.OK:
        connection.send(
            DataHandshakeResp(status_code=answer.status, reason=answer.reason, protocol_version=stream.protocol_version)
        )
        return False
    connection.media_type, connection.params = grant.media_type, stream.answers.to(grant.params)
    connection.ready_s = trio.current_time()
    stream.links.add(connection)
    connection.send(
        DataHandshakeResp(
            status_code=0, media_params=connection.params, protocol_version=stream.protocol_version, sequence=1
        )
    )
    if not strict and stream.signaling is not None and stream.signaling.state is ConnectionState.UP:
        stream.media_up(connection)
    return True


def _expected(route: Route, *, needs_signaling: bool = False) -> checks.Expected:
    stream = route.stream
    gone = stream.phase in OVER or route.generation != stream.generation
    missing = needs_signaling and stream.signaling is None
    return checks.Expected(
        id_key=stream.id_key,
        session_id=stream.session_id,
        rtms_stream_id=None if gone or missing else stream.rtms_stream_id,
        signature=stream.signature,
        protocol_version=stream.protocol_version,
    )


def _judged(
    connection: SimConnection,
    route: Route,
    answer: checks.SimAnswer,
    media_type: MediaType,
    *,
    lenient: bool = False,
    rival: SimConnection | None = None,
) -> checks.SimAnswer:
    """Record the answer to a handshake, after replacing a success by a refusal on demand."""
    stream = route.stream
    kind: ConnectionKind = "media" if route.media else "signaling"
    if answer.status is StatusCode.OK and stream.refusals[kind]:
        status = stream.refusals[kind].popleft()
        duplicate = status is StatusCode.DUPLICATE_SIGNAL_REQUEST
        answer = checks.SimAnswer(status, "Duplicate signal request" if duplicate else "refused on demand")
    stream.record.answered(
        Handshake(
            connection=connection.number,
            kind=kind,
            media_type=int(media_type),
            status_code=int(answer.status),
            reason=answer.reason,
            at_ms=stream.now_ms,
            path=connection.path.partition("?")[0],
            lenient=lenient,
            peer=connection.peer,
            rival=None if rival is None else rival.number,
        )
    )
    return answer


def _contest(holders: Iterable[SimConnection], newcomer: SimConnection) -> None:
    """Note that a client opened a second connection; another process cannot be blamed for one that it does not hold."""
    for holder in holders:
        if holder.contested_s is None and not holder.peer.is_another_process(newcomer.peer):
            holder.contested_s = trio.current_time()
