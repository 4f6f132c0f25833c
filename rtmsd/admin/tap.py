"""Requests for live media and events: parsed, refused with a code, or answered with a live sink."""

import enum
from collections.abc import Collection, Iterator, Mapping, MutableSequence, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

import attrs

from rtmsd.admin.messages import NDJSON_TYPE, AdminError, Code, JsonObject
from rtmsd.http.messages import Source, StreamReply
from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.protocol.media_types import NAMES
from rtmsd.recording.media.ogg.header import HEAD_PAGES, OggHeader
from rtmsd.recording.media.ogg.packets import RATE_HZ, OpusFormat
from rtmsd.recording.media.ogg.pages import PageWriter
from rtmsd.sinks.base import LiveSink
from rtmsd.sinks.hub import LiveHub
from rtmsd.sinks.taps import EventTap, NdjsonTap, VoiceTap, wav_head

MIX_USER_ID: Final = 0
MEDIA: Final = (*NAMES.values(), "events")
NAMING: Final = "with --user-id (in a request: user_id=)"
DEFAULT_MEDIA: Final = frozenset({"audio", "transcript", "events"})


class TapFormat(enum.StrEnum):
    WAV = "wav"
    RAW = "raw"
    OPUS = "opus"
    NDJSON = "ndjson"


CONTENT_TYPES: Final[Mapping[TapFormat, str]] = {
    TapFormat.WAV: "audio/wav",
    TapFormat.RAW: "application/octet-stream",
    TapFormat.OPUS: "audio/ogg",
    TapFormat.NDJSON: NDJSON_TYPE,
}


_CHOOSE: Final = "choose {} with --format (in a request: format=)"
_OTHER_CODEC: Final = {
    True: f"the audio of this stream is Opus, which is not decoded: {_CHOOSE.format('opus or ndjson')}",
    False: f"the audio of this stream is L16, which is not encoded: {_CHOOSE.format('wav, raw or ndjson')}",
}


class TapRecorder(Protocol):
    """What a tap needs of `rtmsd.recording.recorder.Recorder`."""

    @property
    def listeners(self) -> MutableSequence[LiveSink]: ...

    @property
    def pcm(self) -> AudioFormat | None:
        """The audio format in force; None before the first media handshake."""

    def snapshot(self) -> JsonObject:
        """The manifest: `participants` and `files` say who can be heard."""


@attrs.frozen(kw_only=True)
class TapRequest:
    """What a reader asked for. `user_id` is a decimal number or a contact center's channel id; None is no filter."""

    media: frozenset[str]
    format: TapFormat
    user_id: str | None

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> "TapRequest":
        """Raises AdminError (BAD_REQUEST) naming what is wrong."""
        try:
            form = TapFormat(query.get("format", TapFormat.NDJSON))
        except ValueError:
            raise AdminError(Code.BAD_REQUEST, f"format={query['format']}: write wav, raw, opus or ndjson") from None
        sound_only = form is not TapFormat.NDJSON
        default = frozenset({"audio"}) if sound_only else DEFAULT_MEDIA
        media = frozenset(query["media"].split(",")) if "media" in query else default
        if unknown := sorted(media - set(MEDIA)):
            raise AdminError(Code.BAD_REQUEST, f"media={','.join(unknown)}: known are {', '.join(MEDIA)}")
        if sound_only and media != {"audio"}:
            raise AdminError(Code.BAD_REQUEST, f"format={form} holds audio alone: write media=audio, or format=ndjson")
        return cls(media=media, format=form, user_id=query.get("user_id"))


def check_expected(wanted: TapRequest, links: Sequence[JsonObject], *, named: bool) -> None:
    """Refuse what would only wait in silence: media that nobody asks Zoom for, or that Zoom refuses.

    Args:
        links: the stream's media connections.
        named: the reader named its media; of the usual ones, some may be missing.

    Raises:
        AdminError: REFUSED_IN_STATE.
    """
    refused = {media: link["why"] for link in links if link["state"] == "refused" for media in link["media"]}
    asked = {media for link in links for media in link["media"]}
    media = wanted.media - {"events"}
    missing = sorted(media & refused.keys() | media - asked)
    if not missing or (not named and missing != sorted(wanted.media)):
        return
    reasons = [
        f"Zoom refuses {name}: {refused[name]}" if name in refused else f"{name} is not received in this stream"
        for name in missing
    ]
    received = ", ".join(sorted(asked - refused.keys())) or "nothing"
    raise AdminError(
        Code.REFUSED_IN_STATE,
        f"{'; '.join(reasons)}. Received is {received}; media.types says what streams that start later ask for",
    )


def tap_reply(wanted: TapRequest, rtms_stream_id: str, recorder: TapRecorder, hub: LiveHub) -> StreamReply:
    """The live answer to a request.

    Raises:
        AdminError: NO_SUCH_PARTICIPANT for one who is neither there nor was; REFUSED_IN_STATE when sound alone was
            asked for, and it is not clear whose voice is meant, no audio was negotiated yet, or it is in another codec.
    """
    tap: NdjsonTap | VoiceTap
    if wanted.format is TapFormat.NDJSON:
        if wanted.user_id is not None and wanted.user_id != str(MIX_USER_ID):
            _check_participant(recorder.snapshot(), wanted.user_id)
        tap = NdjsonTap(
            rtms_stream_id, wanted.media, wanted.user_id, lambda: "OPUS" if _is_opus(recorder.pcm) else "L16"
        )
    else:
        tap = _voice_tap(wanted, recorder)
    return StreamReply(
        content_type=CONTENT_TYPES[wanted.format],
        open=lambda: _attached(tap, recorder, hub),
        trailer_names=tuple(tap.trailers()),
    )


def _is_opus(form: AudioFormat | None) -> bool:
    return form is not None and form.codec is PayloadType.OPUS


def _voice_tap(wanted: TapRequest, recorder: TapRecorder) -> VoiceTap:
    form = recorder.pcm
    if form is None:
        raise AdminError(Code.REFUSED_IN_STATE, "no audio was negotiated yet: try again once the stream is active")
    if _is_opus(form) != (wanted.format is TapFormat.OPUS):
        raise AdminError(Code.REFUSED_IN_STATE, _OTHER_CODEC[_is_opus(form)])
    known = (_is_opus(form), form.rate_hz, form.channels)

    def format_holds() -> bool:
        now = recorder.pcm
        return now is not None and (_is_opus(now), now.rate_hz, now.channels) == known

    manifest = recorder.snapshot()
    user_id = choose_voice(manifest, form, wanted.user_id)
    if wanted.format is not TapFormat.OPUS:
        head = wav_head(form.rate_hz, form.channels) if wanted.format is TapFormat.WAV else b""
        return VoiceTap(user_id, head, format_holds)
    header = OggHeader(
        pcm=OpusFormat(RATE_HZ, form.channels),
        start_ms=max(manifest["started_ms"], manifest["clock_ms"]),
        stream_started_ms=manifest["started_ms"],
        owner=int(user_id) if user_id.isdecimal() else user_id,
        user_name=_names(manifest, (user_id,)).get(user_id),
    )
    pages = PageWriter(header.serial, HEAD_PAGES).pages
    return VoiceTap(user_id, header.encode(), format_holds, lambda packets: b"".join(pages(packets)))


def choose_voice(manifest: JsonObject, form: AudioFormat, wanted: str | None) -> str:
    """Return the speaker whose sound a tap of sound alone holds, as text: the one asked for, the mix, or the only one.

    Raises:
        AdminError: NO_SUCH_PARTICIPANT, or REFUSED_IN_STATE when there are several or none.
    """
    left = {str(person["user_id"]) for person in manifest["participants"] if person["left_ms"] is not None}
    present = {str(person["user_id"]) for person in manifest["participants"]} - left
    heard = {str(file["user_id"]) for file in manifest["files"] if file["media"] == "audio"}
    mix = {str(MIX_USER_ID)} if form.mixed else set()
    if wanted is not None:
        if wanted in present | heard | mix:
            return wanted
        raise _no_participant(manifest, wanted, present | heard)
    candidates = mix or heard - left or present
    if len(candidates) == 1:
        return candidates.pop()
    if not candidates:
        raise AdminError(Code.REFUSED_IN_STATE, f"nobody is there to be heard yet: name a participant {NAMING}")
    raise AdminError(
        Code.REFUSED_IN_STATE,
        f"several participants can be heard and Zoom sends no mix: choose one {NAMING}",
        participants=sorted(candidates),
        names=_names(manifest, candidates),
    )


def _check_participant(manifest: JsonObject, wanted: str) -> None:
    known = {str(item["user_id"]) for name in ("participants", "files") for item in manifest[name]} - {"None"}
    if wanted not in known:
        raise _no_participant(manifest, wanted, known)


def _no_participant(manifest: JsonObject, wanted: str, known: Collection[str]) -> AdminError:
    return AdminError(
        Code.NO_SUCH_PARTICIPANT,
        f"no participant {wanted} in this stream",
        participants=sorted(known),
        names=_names(manifest, known),
    )


def _names(manifest: JsonObject, user_ids: Collection[str]) -> dict[str, str]:
    """Return what these participants are called, of those who have a name."""
    people = {str(person["user_id"]): person.get("user_name") for person in manifest["participants"]}
    return {user_id: name for user_id in sorted(user_ids) if (name := people.get(user_id))}


@contextmanager
def _attached(tap: NdjsonTap | VoiceTap, recorder: TapRecorder, hub: LiveHub) -> Iterator[Source]:
    with hub.attached_to(recorder.listeners, tap):
        yield tap


def events_reply(hub: LiveHub) -> StreamReply:
    """The live answer to a request for the events of all streams."""

    @contextmanager
    def follow() -> Iterator[Source]:
        tap = EventTap()
        with hub.attached(tap):
            yield tap

    return StreamReply(content_type=NDJSON_TYPE, open=follow)
