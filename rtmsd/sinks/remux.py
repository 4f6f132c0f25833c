"""The sink that `recording.remux` asks for: films of each finished recording that has pictures for them.

The work is `rtmsctl recordings remux`, in a process of low priority, one at a time: PyAV never comes into the daemon.
Its films are in the recording's `export/`, which a revocation deletes together with the rest.
"""

import json
import sys
from collections.abc import Mapping
from typing import Final

import attrs
import trio

from rtmsd.config.sinks import ExecConfig, RemuxConfig
from rtmsd.sinks.base import Recording, Refused, TryAgain, Unusable
from rtmsd.sinks.exec import THREADS, ExecSink
from rtmsd.state.deliveries import DeliveryEvent

_FILMED: Final = (".h264", ".mjpeg")
_NICENESS: Final = 10


class RemuxSink:
    """See the module.

    Args:
        environment: what the program inherits.
    """

    def __init__(self, config: RemuxConfig, environment: Mapping[str, str]) -> None:
        self._config = config
        self._environment = environment

    @property
    def config(self) -> RemuxConfig:
        return self._config

    async def deliver(self, recording: Recording) -> None:
        if recording.event is DeliveryEvent.REVOKED:  # its films were deleted together with it
            return
        manifest = json.loads(await trio.to_thread.run_sync(recording.manifest, limiter=THREADS))
        form = self._config.formats.get(manifest.get("app"), "off")
        if form == "off" or not any(entry["path"].endswith(_FILMED) for entry in manifest["files"]):
            return
        if (unusable := self._config.unusable()) is not None:
            raise Unusable(": ".join(unusable))
        arguments = ("recordings", "remux", str(recording.directory), "--format", form, "--force")
        program = ExecConfig(
            kind="exec",
            command=(sys.executable, "-P", "-m", "rtmsd.ctl", *arguments),
            **attrs.asdict(self._config, filter=attrs.filters.include("name", "timeout_s", "parallel", "retry_s")),
        )
        try:
            await ExecSink(program, self._environment, _NICENESS).deliver(recording)
        except Refused as error:  # a full disk ends like a damaged file
            raise TryAgain(str(error), error.output) from error
