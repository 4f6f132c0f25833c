"""The beginning of a stream here: what the journal has of it, and what it is begun by or taken over from."""

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from rtmsd.commands import InterruptStream, StartStream, StopStream, StreamCommand
from rtmsd.protocol.causes import GapCause
from rtmsd.recording.manifest.part import PartTenure
from rtmsd.recording.parts import Inherited
from rtmsd.state.rows import StreamRow


@attrs.frozen(kw_only=True)
class Beginning:
    """A stream to begin with here, or to go on with.

    Attributes:
        row: as the journal has it.
        begun_by: the webhook that it begins with, which the journal has; None: there is no new one.
        cause: why media are missing since somebody else, an earlier process or this one had it; None: it is new.
        takeover: fields of the `stream_state` event that says who took over from whom, and why; None: there is none.
        tenure, inherited: for the recording, see `open_recorder`.
    """

    row: StreamRow
    begun_by: StreamCommand | None = None
    cause: GapCause | None = None
    takeover: Mapping[str, Any] | None = None
    tenure: PartTenure | None = None
    inherited: Inherited | None = None

    def news(self, known: StreamRow) -> Iterator[StreamCommand]:
        """Yield what a stream that lives here already has not heard, as somebody else did."""
        row = self.row
        if row.event_ts > known.event_ts and row.server_urls:
            yield start_of(row, row.server_urls)
        if isinstance(self.begun_by, InterruptStream):
            yield self.begun_by
        if row.stop_reason is not None and known.stop_reason is None:
            yield StopStream(
                product=row.product,
                session=row.session,
                rtms_stream_id=row.rtms_stream_id,
                app=row.app,
                event_ts=row.stopped_ms,
                stop_reason=row.stop_reason,
            )


def start_of(row: StreamRow, server_urls: str) -> StartStream:
    """Return the latest start of a stream, as a webhook that says the same."""
    return StartStream(
        product=row.product,
        session=row.session,
        rtms_stream_id=row.rtms_stream_id,
        server_urls=server_urls,
        app=row.app,
        event_ts=row.event_ts,
        details=row.details,
    )


def row_of(command: StartStream | StopStream) -> StreamRow:
    """Return a stream as the journal will have it after `command` alone."""
    stop = command if isinstance(command, StopStream) else None
    event_ts = command.event_ts or 0
    return StreamRow(
        rtms_stream_id=command.rtms_stream_id,
        product=command.product,
        session=command.session,
        app=command.app,
        server_urls=command.server_urls if isinstance(command, StartStream) else "",
        started_ms=event_ts,
        event_ts=event_ts,
        stop_reason=None if stop is None else stop.stop_reason,
        stopped_ms=None if stop is None else stop.event_ts,
        closed=False,
        details=command.details if isinstance(command, StartStream) else {},
    )


def row_after(row: StreamRow, command: StartStream | StopStream) -> StreamRow:
    """Return a stream that is known as the journal will have it after `command`."""
    if isinstance(command, StopStream):
        return attrs.evolve(row, stop_reason=command.stop_reason, stopped_ms=command.event_ts)
    details = {**row.details, **command.details}
    return attrs.evolve(row, server_urls=command.server_urls, event_ts=command.event_ts, details=details)
