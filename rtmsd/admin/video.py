"""The choice of a participant's video: as a request says it, and what becomes of it as an answer."""

from typing import Any, Final

from rtmsd.admin.messages import AdminError, Code, JsonObject
from rtmsd.protocol.causes import FINAL_STATES
from rtmsd.protocol.enums import StatusCode
from rtmsd.protocol.status_texts import STATUS_TEXTS
from rtmsd.streams.core.video.choice import MAX_USER_ID, Choice, ChoiceKind, is_user_id
from rtmsd.streams.core.video.requests import ANSWER_S, Result, Settled

_NOT_GRANTED: Final = {
    "active-speaker": "Zoom did not grant one participant's video to this stream: it sends the active speaker's",
    "refused": "Zoom refuses video to this stream: `rtmsctl inspect` says why",
}
_USAGE: Final = 'write {"user_id": 16778240}, {"off": true} or {"auto": true}'


def read_choice(body: JsonObject) -> Choice:
    """Return the choice that a request's body makes.

    Raises:
        AdminError: BAD_REQUEST for anything but one of the three.
    """
    match dict(body):
        case {"user_id": user_id, **rest} if not rest:
            if not is_user_id(user_id):
                raise AdminError(
                    Code.BAD_REQUEST, f"user_id: must be a number from 1 to {MAX_USER_ID}, not {user_id!r}"
                )
            return Choice(ChoiceKind.USER, user_id)
        case {"off": True, **rest} if not rest:
            return Choice(ChoiceKind.OFF)
        case {"auto": True, **rest} if not rest:
            return Choice(ChoiceKind.AUTO)
    raise AdminError(Code.BAD_REQUEST, f"the body chooses nobody, or more than one: {_USAGE}")


def described(known: JsonObject) -> dict[str, Any]:
    """Return whose video is asked for, with names.

    Args:
        known: a stream, as `AdminBackend.stream` describes it.

    Raises:
        AdminError: REFUSED_IN_STATE where participants cannot be chosen.
    """
    video = known.get("video")
    if video is None and known.get("state") in FINAL_STATES:
        raise AdminError(Code.REFUSED_IN_STATE, "the stream has ended")
    if "signaling_up" not in known:
        raise AdminError(Code.REFUSED_IN_STATE, "the stream has not begun to connect")
    if video is None:
        raise AdminError(
            Code.REFUSED_IN_STATE,
            'one participant\'s video is not asked for in this stream: media.types needs "video", and '
            'media.video.streams = "individual", when a stream starts',
        )
    if video["streams"] != "individual":
        raise AdminError(Code.REFUSED_IN_STATE, _NOT_GRANTED[video["streams"]])
    names = {person["user_id"]: person.get("user_name") for person in known["participants"]}
    return {
        **video,
        "user_name": names.get(video["user_id"]),
        "cameras": [{"user_id": user_id, "user_name": names.get(user_id)} for user_id in video["cameras"]],
        "latest": video["latest"] and {**video["latest"], "status_text": status_text(video["latest"]["status"])},
    }


def check_participant(known: JsonObject, choice: Choice) -> None:
    """Refuse to choose who is not there.

    Raises:
        AdminError: NOT_IN_STREAM, with those who are.
    """
    present = {
        person["user_id"]: person.get("user_name") for person in known["participants"] if person.get("left_ms") is None
    }
    if choice.user_id is not None and choice.user_id not in present:
        raise AdminError(
            Code.NOT_IN_STREAM,
            f"no participant {choice.user_id} is in this stream",
            participants=[str(user_id) for user_id in present],
            names={str(user_id): name for user_id, name in present.items() if name},
        )


def check_settled(settled: Settled) -> None:
    """Raises AdminError unless Zoom agreed: NOT_IN_STREAM, REFUSED_IN_STATE or TIMED_OUT."""
    match settled.result:
        case Result.OK:
            return
        case Result.GONE:
            raise AdminError(
                Code.NOT_IN_STREAM, f"Zoom knows no {settled.choice} in this stream (status {settled.status})"
            )
        case Result.REFUSED:
            raise AdminError(
                Code.REFUSED_IN_STATE,
                f"Zoom refused with status {settled.status}: {status_text(settled.status)}",
                status_code=settled.status,
            )
        case Result.REPLACED:
            raise AdminError(Code.REFUSED_IN_STATE, "another choice was made meanwhile, or the stream has ended")
        case Result.NO_ANSWER:
            raise AdminError(
                Code.TIMED_OUT,
                f"no answer of Zoom's within {ANSWER_S:g} s; the choice holds, and is tried again when video is "
                "connected again, or at the next event of a participant",
            )


def status_text(status: int | None) -> str | None:
    """Return a status code of Zoom's in words, None for none."""
    if status is None:
        return None
    if status == StatusCode.INVALID_PAYLOAD:  # of message 28 it is what is sent for somebody unknown
        return "Zoom knows no such participant."
    try:
        return STATUS_TEXTS[StatusCode(status)][0]
    except ValueError:
        return f"unknown status {status}"
