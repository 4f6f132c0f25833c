"""The part record of a recording, made of its manifest. Pure."""

from typing import Any

import attrs
from msgspec import UNSET

from rtmsd.cluster.records import Part, PartState
from rtmsd.protocol.causes import FINAL_STATES
from rtmsd.recording.manifest.schema import Manifest
from rtmsd.recording.parts import summarize


def part_of(manifest: Manifest) -> Part | None:
    """Return the record of what a manifest on disk describes; None: no member owned the stream when it was written."""
    part = manifest.part
    if part is UNSET or not part.tenures:
        return None
    latest = max(part.tenures, key=lambda tenure: tenure.epoch)
    if manifest.state in FINAL_STATES:
        state = PartState.ENDED
    else:
        state = PartState.RECORDING if latest.to_ms is None else PartState.LET_GO
    return Part(
        rtms_stream_id=manifest.rtms_stream_id,
        node=part.node,
        token=latest.token,
        epoch=latest.epoch,
        state=state,
        **attrs.asdict(summarize(manifest), recurse=False),
    )


def shortened(part: Part) -> list[Part]:
    """Return a record, and what to write where it is too large: without what only people look at, then without all."""
    shown: dict[str, Any] = {"files": (), "gaps": ()}
    return [part, attrs.evolve(part, **shown), attrs.evolve(part, participants=(), media={}, **shown)]


def structure(part: Part) -> object:
    """Return what others have to know at once: all but times and sizes."""
    files, gaps = [file.get("path") for file in part.files], [gap.get("from_ms") for gap in part.gaps]
    return attrs.evolve(part, clock_ms=None, bytes=0, files=(), gaps=()), files, gaps
