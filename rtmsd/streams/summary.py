"""Summaries of streams: one as a person sees it, and all of them as sums for the metrics."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import attrs
import trio

from rtmsd.protocol.causes import RecordingState
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.explanations import STOP_REASONS
from rtmsd.recording.manifest.entry import to_json
from rtmsd.recording.manifest.header import receipt
from rtmsd.streams.core.connections import TRYING, LinkState
from rtmsd.streams.core.reconnect import NO_ATTEMPTS, Attempts
from rtmsd.streams.drivers.stream import Stream
from rtmsd.streams.managed_stream import ManagedStream


def describe(managed: ManagedStream) -> dict[str, Any]:
    """Return what is known of one stream: its manifest, and what is only true now. Of an ended one, what stays true."""
    row = managed.row
    known: dict[str, Any] = {
        "rtms_stream_id": row.rtms_stream_id,
        "product": row.product,
        "id": row.session.id,
        "app": row.app,
        "state": state_of(managed),
        "started_ms": row.started_ms,
        "ended_ms": None if managed.outcome is None else managed.outcome.zoom_ms,
        "stop_reason": None,
        "details": dict(row.details),
        "participants": [],
        "gaps": [],
    }
    if managed.recorder is not None:
        known |= managed.recorder.snapshot() | {"directory": str(managed.recorder.directory)}
    known["video"] = None  # that of a manifest is for a restart
    if managed.stream is not None:
        ages_s = known.get("last_packet_age_s", {})
        known |= _connections(managed.stream)
        known["video"] = describe_video(managed.stream)
        known["last_packet_age_s"] = {
            media: ages_s.get(media)
            for link in managed.stream.situation.links
            for media in sorted(link.media | ages_s.keys())
        }
    if managed.outcome is not None:
        known |= {"rates": {}, "lag_ms": None, "last_packet_age_s": {}, "why": managed.outcome.why, **NO_ATTEMPTS}
        known["video"] = None
        if managed.outcome.state == "revoked":
            known = {**to_json(receipt(known)), "directory": known.get("directory"), "why": managed.outcome.why}
    return known


def describe_video(stream: Stream) -> dict[str, Any] | None:
    """Return whose video is asked for, and why; None where Zoom chooses, as nobody asked for one participant's.

    `streams` is "individual", or what else Zoom granted: "active-speaker", or nothing, "refused".
    """
    video = stream.core.video
    if video.policy is None:
        return None
    streams = "individual" if video.is_individual else "active-speaker"
    if not any(link.types & MediaType.VIDEO for link in stream.situation.links if link.state is not LinkState.REFUSED):
        streams = "refused"
    return {"streams": streams, "is_connected": video.policy.is_up, **video.policy.describe()}


def video_warnings(streams: Iterable[ManagedStream]) -> list[str]:
    """Return a line for each live stream whose participants' video cannot be chosen, although it was asked for."""
    return [
        f"stream {managed.row.rtms_stream_id}: one participant's video was not granted: Zoom sends the active speaker's"
        for managed in streams
        if managed.stream is not None and managed.outcome is None
        if managed.stream.core.video.policy is not None and not managed.stream.core.video.is_individual
    ]


def state_of(managed: ManagedStream) -> str:
    """Return the stream's state, as the manifest names it."""
    if managed.recorder is not None:
        return managed.recorder.state_name
    return RecordingState.CONNECTING.value if managed.outcome is None else managed.outcome.state.value


def _connections(stream: Stream) -> dict[str, Any]:
    """The connections of a stream, beside what its recorder knows."""
    now_s = trio.current_time()
    why, attempts = _not_up(stream)
    return {
        "keep_alives": keep_alives(stream),
        "signaling_up": stream.situation.uplink.is_up,
        "links": [
            {
                "media": sorted(link.media),
                "state": link.state.value,
                "why": link.why,
                "ignored": dict(link.ignored),
                **(link.attempts.describe(now_s) if link.state in TRYING else NO_ATTEMPTS),
            }
            for link in stream.situation.links
        ],
        "ignored": dict(stream.situation.uplink.ignored),
        "why": why,
        **(NO_ATTEMPTS if attempts is None else attempts.describe(now_s)),
    }


def _not_up(stream: Stream) -> tuple[str, Attempts | None]:
    """Return why a stream is not wholly connected, and the attempts of the connection that is given up first."""
    if not stream.situation.uplink.is_up:
        return stream.situation.why, stream.situation.uplink.attempts
    down = [link for link in stream.situation.links if link.state in TRYING]
    if not down:
        return stream.situation.why, None
    first = min(down, key=lambda link: link.window.deadline_s)
    return f"{'+'.join(sorted(first.media))}: {first.why}" if first.why else stream.situation.why, first.attempts


def keep_alives(stream: Stream) -> dict[str, int]:
    """How many requests were answered, by kind of connection."""
    known = stream.situation
    return {"signaling": known.uplink.keep_alives, "media": sum(link.keep_alives for link in known.links)}


def is_silent(stream: Stream, for_s: float) -> bool:
    """Whether a connected link heard neither media nor keep-alives for so long, although it was read."""
    now = trio.current_time()
    return any(link.is_silent(now, for_s) for link in stream.situation.links)


def not_connected(stream: Stream) -> str:
    """Return in words why a stream is not wholly connected, when it is tried again, and when it is given up."""
    why, attempts = _not_up(stream)
    parts = [why or "no answer yet"]
    if attempts is not None:
        known = attempts.describe(trio.current_time())
        if known["next_attempt_in_s"] is not None:
            parts.append(f"next attempt in {known['next_attempt_in_s']:.0f} s")
        if known["gives_up_in_s"] is not None:
            parts.append(f"gives up in {known['gives_up_in_s']:.0f} s")
    return ", ".join(parts)


def is_stuck(stream: Stream, attempts: int) -> bool:
    """Whether so many attempts in a row have failed to bring a connection up that the end of the stream comes near."""
    failing = _not_up(stream)[1]
    return not stream.situation.expects_end and failing is not None and failing.failed >= attempts


def is_slot_held(stream: Stream) -> bool:
    """Whether another connection has the stream's slot at Zoom, for longer than one that is dead."""
    return stream.situation.uplink.is_held_too_long(trio.current_time())


def reason_label(reason: int | None) -> str:
    """Return a stop reason as a label: its name in small letters, "other" for an unknown number, "none" without one."""
    if reason is None:
        return "none"
    meaning = STOP_REASONS.get(reason)
    return "other" if meaning is None else meaning.name.lower()


@attrs.define
class Tally:
    """Sums over streams, under the labels of the metrics; `ended` is by the final state and `reason_label`."""

    streams: int = 0
    ended: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    messages: Counter[str] = attrs.field(factory=Counter)
    media_bytes: Counter[str] = attrs.field(factory=Counter)
    dropped: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    reconnects: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    keep_alives: Counter[str] = attrs.field(factory=Counter)
    unknown: Counter[str] = attrs.field(factory=Counter)
    rtp_lost: int = 0

    def add(self, stream: Stream) -> None:
        recorder = stream.recorder
        self.streams += 1
        self.messages.update(recorder.media.messages)
        self.media_bytes.update(recorder.media.media_bytes)
        self.dropped.update(recorder.media.dropped)
        self.reconnects.update(stream.situation.outage.recoveries)
        self.keep_alives.update(keep_alives(stream))
        self.unknown.update(recorder.media.context.unknown.kinds)
        self.rtp_lost += recorder.media.rtp_lost
