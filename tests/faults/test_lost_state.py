"""A state file that is deleted under the daemon, or damaged while it is down: accepted events are kept."""

from pathlib import Path

import trio

from tests.faults.process import LIMIT_S, open_stage, until
from tests.faults.reckoning import end_all, manifest_of, recording_of, sum_of


async def test_a_deleted_state_file_is_noticed_and_accepted_streams_are_resumed(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        daemon.module = ("tests.faults.impatient",)
        [session] = await stage.live()
        state = Path(daemon.sections["state"]["file"])
        await trio.to_thread.run_sync(state.unlink)
        refused = await stage.zoom.start_session()
        assert refused.record.webhooks[0].status == 503
        await daemon.until_status(lambda status: any(each["code"] == "state_file" for each in status["degraded"]))
        await daemon.until_logged("state file was written anew")
        await daemon.until_status(lambda status: not status["degraded"])
        with trio.fail_after(LIMIT_S):
            await refused.wait_reconnected()  # Zoom asked again
        daemon.kill()
        await daemon.reap()
        await daemon.start()
        for each in (session, refused):
            await each.wait_reconnected()
        total = sum_of(await end_all(daemon, [session, refused]))
    assert not total.faults
    assert set(total.gaps) <= {"daemon_restart"}


async def test_a_damaged_state_file_is_rebuilt_from_recordings(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        [session] = await stage.live()
        await until(lambda: list(daemon.recordings.glob("*/*/stream.json")))
        daemon.kill()
        await daemon.reap()
        state = Path(daemon.sections["state"]["file"])
        await trio.to_thread.run_sync(state.write_bytes, b"\0" * 5000)
        await trio.to_thread.run_sync(Path(f"{state}-wal").unlink)  # else SQLite gets everything from there
        await daemon.start()
        line = await daemon.until_logged("the state file was damaged and is set aside")
        assert line["from_recordings"] == 1
        status = await daemon.status()
        assert status["state"]["set_aside"] == line["set_aside"]
        assert [each["code"] for each in status["degraded"] if each["code"] == "state_file_damaged"]
        await daemon.until_all_ended()
        manifest = manifest_of(recording_of(daemon.recordings, session))
        other = await stage.zoom.start_session()
        await other.wait_reconnected()
    assert manifest["state"] == "failed"
    assert "state file" in manifest["why"]
