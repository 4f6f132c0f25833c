"""The two interfaces of outputs: live sinks, which may lose, and archive sinks, which may not."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import attrs

from rtmsd.config.sinks import SinkConfig
from rtmsd.errors import RtmsdError
from rtmsd.protocol.media_data import Text, UserId
from rtmsd.state.deliveries import DeliveryEvent

JsonObject: TypeAlias = Mapping[str, Any]
MANIFEST: Final = "stream.json"
REVOKED: Final = "revoked"


class LiveSink(Protocol):
    """Hears what a stream's recorder keeps, a repeat excepted, and what the hub publishes.

    Each method is called on the packet path: it must neither wait nor raise. Lossy by contract: a sink whose reader is
    slow drops what it cannot hold, and says how much. `pcm` is L16, whatever the codec was, or a packet of Opus.
    """

    def audio(self, user_id: UserId, user_name: str | None, timestamp_ms: int, pcm: bytes) -> None: ...
    def video(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None: ...
    def share(self, user_id: UserId, user_name: str | None, timestamp_ms: int, data: bytes) -> None: ...
    def text(self, data: Text) -> None: ...
    def event(self, event: JsonObject) -> None:
        """A line of `events.jsonl`, of any stream, with its `rtms_stream_id`."""

    def ended(self) -> None:
        """The recording is finished: no media follow."""


class DeliveryError(RtmsdError):
    """A delivery failed.

    Attributes:
        output: the end of what was said about it elsewhere, as text.
    """

    def __init__(self, why: str, output: str = "") -> None:
        super().__init__(why)
        self.output = output


class TryAgain(DeliveryError):
    """Another time it may go well."""


class Unusable(TryAgain):
    """Something that the configuration names cannot be used now."""


class Refused(DeliveryError):
    """It will never go well: the delivery is dead until somebody replays it."""


@attrs.frozen(kw_only=True)
class Recording:
    """What is delivered: a finished recording, or the receipt of a revoked one, whose directory may be gone."""

    event: DeliveryEvent
    rtms_stream_id: str
    directory: Path

    def manifest(self) -> bytes:
        """Read the manifest; of a revoked stream the receipt, or what one says without a directory. Blocks.

        Raises:
            Refused: the recording was removed.
            TryAgain: the disk refuses.
        """
        if self.event is DeliveryEvent.FINISHED:
            return self._read()
        with contextlib.suppress(DeliveryError, ValueError, RecursionError, AttributeError):
            if json.loads(content := self._read()).get("state") == REVOKED:  # else it is of the stream's next life
                return content
        return json.dumps({"version": 1, "rtms_stream_id": self.rtms_stream_id, "state": REVOKED}).encode()

    def _read(self) -> bytes:
        try:
            descriptor = os.open(self.directory / MANIFEST, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            raise Refused("the recording was removed") from None
        except OSError as error:
            raise TryAgain(f"{self.directory / MANIFEST}: {error.strerror or error}") from error


class ArchiveSink(Protocol):
    """Takes finished recordings, each at least once: durable, retried, and again after a restart."""

    @property
    def config(self) -> SinkConfig:
        """Its section of the configuration."""
        ...

    async def deliver(self, recording: Recording) -> None:
        """Return when it is delivered, within `config.timeout_s`.

        A cancellation, which a revocation or the end of the daemon brings, leaves nothing of it running.

        Raises:
            TryAgain, Refused: it is not.
        """
        ...
