"""The restarter: a terminated stream is dead at Zoom; where the configuration says so, a new one is asked for."""

from collections.abc import Callable
from typing import Final

import structlog

from rtmsd.config import Config
from rtmsd.errors import RtmsdError
from rtmsd.protocol.policy import StopAction, on_stop
from rtmsd.state.rows import StreamRow
from rtmsd.zoom_api import ZoomApi

log = structlog.get_logger()

REMEMBERED: Final = 1000  # sessions that were restarted after a refusal of our credentials


class Restarter:
    """Starts streams again through Zoom's REST API, with `streams.restart_policy = "api"`.

    What comes of it is a started webhook with a new `rtms_stream_id`: a stream like any other.
    """

    def __init__(self, api: ZoomApi, config: Callable[[], Config]) -> None:
        self._api = api
        self._config = config
        self._refused: dict[str, None] = {}

    async def consider(self, row: StreamRow, reason: int) -> None:
        """Ask Zoom for a new stream if the old one's end calls for it. Failure is logged: nobody waits for this."""
        config = self._config()
        app = next((app for app in config.apps if app.name == row.app), None)
        if config.streams.restart_policy != "api" or app is None or not self._is_due(row, on_stop(reason)):
            return
        try:
            await self._api.control_session(app, "start", row.session.id, row.product)
        except RtmsdError as error:
            log.warning("stream not started again", reason=reason, error=str(error))
        else:
            log.info("asked Zoom to start a stream again", reason=reason)

    def _is_due(self, row: StreamRow, action: StopAction) -> bool:
        match action:
            case StopAction.RESTART:
                self._refused.pop(row.session.id, None)
                return True
            case StopAction.RESTART_ONCE if row.session.id not in self._refused:
                self._refused[row.session.id] = None
                if len(self._refused) > REMEMBERED:
                    del self._refused[next(iter(self._refused))]
                return True
            case _:
                return False
