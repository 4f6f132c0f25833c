"""A shutdown between a stream's end and its last file."""

import json
from functools import partial
from pathlib import Path

import attrs
import trio

from rtmsd.config import StreamsConfig
from rtmsd.daemon.backend import Backend
from rtmsd.daemon.root import Daemon
from rtmsd.protocol.enums import StopReason
from rtmsd.recording.verify.verify import verify
from rtmsd.simulator import SimSession, Timing, open_simulator
from rtmsd.state.journal import LocalJournal
from tests.daemon.whole import SIMULATED, config

LONG_S = 60.0


async def test_a_stream_that_has_ended_is_not_left_as_one_to_recover(tmp_path: Path) -> None:
    """Zoom has ended it and its sockets are still open: the manifest says ended, and the journal has nothing to do."""
    settings = config(tmp_path, streams=StreamsConfig(stop_grace_s=LONG_S))
    daemon = Daemon(tmp_path / "config.toml", settings, end_streams=False)
    stopped = trio.Event()

    async def run(*, task_status: trio.TaskStatus[Backend]) -> None:
        await daemon.run(task_status=task_status)
        stopped.set()

    with trio.fail_after(LONG_S / 2):
        async with trio.open_nursery() as nursery:
            backend: Backend = await nursery.start(run)
            url = f"http://{backend.listening['webhook'][0]}/webhook"
            unhurried = attrs.evolve(SIMULATED, webhook_url=url, timing=Timing(stop_grace_s=LONG_S))
            async with open_simulator(unhurried) as simulator:
                session = await simulator.start_session()
                await session.ready.wait()
                nursery.start_soon(partial(session.stop, StopReason.MEETING_ENDED, webhook="before"))
                await _stopped_webhook(session)
                assert session.rtms_stream_id in backend.ids()
                daemon.stop()
                await stopped.wait()
                nursery.cancel_scope.cancel()
    _check_recording(tmp_path)
    journal = await LocalJournal.open(settings.state.file)
    assert await journal.unfinished() == []
    await journal.aclose()


async def _stopped_webhook(session: SimSession) -> None:
    while len(session.record.webhooks) < 2:  # noqa: ASYNC110 a list of the simulator's
        await trio.sleep(0.01)


def _check_recording(tmp_path: Path) -> None:
    [directory] = tmp_path.glob("recordings/*/*")
    manifest = json.loads((directory / "stream.json").read_bytes())
    assert (manifest["state"], manifest["stop_reason"]) == ("ended", StopReason.MEETING_ENDED)
    assert verify(directory) == []
