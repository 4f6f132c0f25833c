"""The context of a stream's drivers: what they share, and how they report to the core."""

from collections.abc import Awaitable, Callable
from typing import Concatenate, ParamSpec, Protocol

import attrs

from rtmsd.config.model import AppConfig, Config
from rtmsd.protocol.messages import MediaParams
from rtmsd.recording.recorder import Recorder
from rtmsd.state.rows import StreamRow
from rtmsd.streams.core.stream_core import StreamCore
from rtmsd.streams.drivers.diagnostics import Diagnostics
from rtmsd.streams.drivers.messages import MessageWriter
from rtmsd.streams.drivers.recording import RecordingDriver
from rtmsd.streams.drivers.tenure import Tenure
from rtmsd.streams.drivers.watchdog import Watchdog

P = ParamSpec("P")


class Report(Protocol):
    """Gives the core an input, with the time, and does what follows from it."""

    def __call__(self, decide: Callable[Concatenate[float, P], None], *args: P.args, **kwargs: P.kwargs) -> None: ...


@attrs.frozen(kw_only=True)
class Context:
    """One for each stream.

    Attributes:
        settings: as they were when the stream began, whatever a reload changes.
        wait_room: waits while unwritten media fill their bound, for as long as that is safe.
    """

    row: StreamRow
    app: AppConfig
    signature: str
    settings: Config
    media_params: MediaParams
    core: StreamCore
    report: Report
    recorder: Recorder
    recording: RecordingDriver
    writer: MessageWriter
    diagnostics: Diagnostics
    watchdog: Watchdog
    tenure: Tenure
    wait_room: Callable[[], Awaitable[None]]
