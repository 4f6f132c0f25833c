"""The part that one member of a cluster has of a stream: the manifest's `part`, written in a cluster only."""

import copy
from collections.abc import Iterator

import attrs
from msgspec import UNSET, UnsetType

from rtmsd.protocol.causes import RecordingState
from rtmsd.recording.manifest.changes import ChangeCounter
from rtmsd.recording.manifest.schema import ElsewhereEntry, Manifest, PartEntry, TenureEntry


@attrs.frozen(kw_only=True)
class PartTenure:
    """A member's time as the owner of a stream, as it begins.

    Attributes:
        node: the member.
        epoch: number of the tenure, 1 for the first one of the stream.
        token: number of its ownership record.
    """

    node: str
    epoch: int
    token: int


class PartHistory:
    """The tenures that this member had, and the times for which others have the media. All times are Zoom's.

    Args:
        known: what an earlier process wrote.
    """

    def __init__(self, known: PartEntry | UnsetType, changes: ChangeCounter) -> None:
        self._part = copy.deepcopy(known)
        self._changes = changes

    @property
    def elsewhere(self) -> Iterator[tuple[int, int]]:
        if self._part is not UNSET:
            yield from ((each.from_ms, each.to_ms) for each in self._part.elsewhere)

    def begin(self, tenure: PartTenure, from_ms: int) -> None:
        """This member owns the stream from now on; a tenure before, of which no end was written, ended by then.

        No change where that one is the same.
        """
        if self._part is UNSET:
            self._part = PartEntry(tenure.node)
        if any(each.to_ms is None and each.token == tenure.token for each in self._part.tenures):
            return
        self.end(from_ms)
        self._part.node = tenure.node
        self._part.tenures.append(TenureEntry(tenure.epoch, tenure.token, from_ms, None))
        self._changes.note()

    def had(self, node: str, epoch: int, from_ms: int, to_ms: int) -> None:
        """Another member recorded the stream between these times."""
        if self._part is UNSET:
            self._part = PartEntry("")
        self._part.elsewhere.append(ElsewhereEntry(node, from_ms, to_ms, epoch))
        self._changes.note()

    def end(self, at_ms: int) -> None:
        """The tenure that lasts ends: by the end of the stream, by a suspension, or for another member."""
        if self._part is UNSET:
            return
        for tenure in self._part.tenures:
            if tenure.to_ms is None:
                tenure.to_ms = max(at_ms, tenure.from_ms)
                self._changes.note()

    def entry(self) -> PartEntry | UnsetType:
        """Return it as it is now; UNSET without a cluster."""
        return copy.deepcopy(self._part)


def is_incomplete(manifest: Manifest) -> bool:
    """Whether other members have parts of the stream, with which this one was not joined."""
    part = manifest.part
    if part is UNSET or manifest.parts is not UNSET:
        return False
    epochs = {tenure.epoch for tenure in part.tenures}
    return bool(part.elsewhere) or len(epochs) < max(epochs, default=0)


def is_let_go(manifest: Manifest) -> bool:
    """Whether no tenure of this member lasts, of a stream that had not ended: another has it, or may have it."""
    part = manifest.part
    if part is UNSET or manifest.state != RecordingState.RECOVERING:
        return False
    return bool(part.tenures) and all(tenure.to_ms is not None for tenure in part.tenures)
