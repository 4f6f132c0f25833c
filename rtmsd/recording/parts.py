"""The part record of a recording, which members of a cluster share: what it says of a recording here, and what a member
that takes a stream over inherits from its predecessor's.
"""

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import attrs
import msgspec

from rtmsd.protocol.times import is_believable
from rtmsd.recording.manifest.entry import Entry, keep_others, to_json
from rtmsd.recording.manifest.schema import Manifest, MediaTerm, ParticipantEntry

_Entry = TypeVar("_Entry", bound=Entry)


@attrs.frozen(kw_only=True)
class PartSummary:
    """What is on disk of a recording, in Zoom's time: JSON objects, as the manifest has them.

    Attributes:
        clock_ms: how far the recording has come; None: nothing was heard of Zoom yet.
        first_packet_ms: where small timestamps count from.
        paused_since_ms: None: not paused.
        bytes: of all files.
    """

    clock_ms: int | None
    first_packet_ms: int | None
    paused_since_ms: int | None
    participants: tuple[dict[str, Any], ...]
    media: dict[str, Any]
    files: tuple[dict[str, Any], ...]
    bytes: int
    gaps: tuple[dict[str, Any], ...]


def summarize(manifest: Manifest) -> PartSummary:
    """Return what a part record says of the recording that a manifest describes.

    Take a manifest that is on disk (`Flusher.on_saved`): who takes over counts what comes after `clock_ms` as missing,
    and nothing before it.
    """
    has_begun = bool(manifest.connections) or bool(manifest.files)
    pause = manifest.pauses[-1] if manifest.pauses else None
    return PartSummary(
        clock_ms=manifest.clock_ms if has_begun else None,
        first_packet_ms=manifest.first_packet_ms,
        paused_since_ms=pause.from_ms if pause is not None and pause.to_ms is None else None,
        participants=tuple(map(to_json, manifest.participants)),
        media={name: to_json(term) for name, term in manifest.media.items()},
        files=tuple(map(to_json, manifest.files)),
        bytes=sum(file.bytes for file in manifest.files) + manifest.events_bytes,
        gaps=tuple(map(to_json, manifest.gaps)),
    )


@attrs.frozen(kw_only=True)
class Inherited:
    """A recording that begins in the middle of a stream: what the member knew that had it so far.

    Attributes:
        node, epoch: the predecessor and its tenure.
        clock_ms: how far it came; None: nowhere, and all is missing since the start.
        first_packet_ms: where small timestamps count from.
        paused_since_ms: None: not paused, as far as it knew.
        has_ended: whether the stream ended there, at `clock_ms`: it was started again since.
        media: what it asked for, was granted and refused.
    """

    node: str
    epoch: int
    clock_ms: int | None = None
    first_packet_ms: int | None = None
    paused_since_ms: int | None = None
    has_ended: bool = False
    participants: tuple[ParticipantEntry, ...] = ()
    media: Mapping[str, MediaTerm] = attrs.field(factory=dict)

    @classmethod
    def read(
        cls,
        *,
        node: str,
        epoch: int,
        clock_ms: int | None,
        first_packet_ms: int | None,
        paused_since_ms: int | None,
        participants: Iterable[Mapping[str, Any]],
        media: Mapping[str, Any],
        has_ended: bool = False,
    ) -> "Inherited":
        """Read a part record as it came from another member: what is none of its entries, or no time, is left out."""
        terms = {name: _read([term], MediaTerm) for name, term in media.items()}
        return cls(
            node=node,
            epoch=epoch,
            clock_ms=_time(clock_ms),
            first_packet_ms=_time(first_packet_ms),
            paused_since_ms=_time(paused_since_ms),
            has_ended=has_ended,
            participants=_read(participants, ParticipantEntry),
            media={name: term for name, found in terms.items() for term in found},
        )


def _time(time_ms: int | None) -> int | None:
    return time_ms if time_ms is not None and is_believable(time_ms) else None


def _read(objects: Iterable[Any], kind: type[_Entry]) -> tuple[_Entry, ...]:
    found = []
    for plain in objects:
        with contextlib.suppress(msgspec.ValidationError):
            entry = msgspec.convert(plain, kind)
            keep_others(entry, plain)
            found.append(entry)
    return tuple(found)
