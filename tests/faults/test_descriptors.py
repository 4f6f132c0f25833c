"""A process that may open few files: accepted streams connect, others are refused, and operators are answered."""

import resource
from pathlib import Path

import trio

from rtmsd.simulator import Timing
from tests.faults.process import LIMIT_S, open_stage
from tests.faults.reckoning import end_all, sum_of

LIMIT = 96
TIMING = Timing(utterance_s=1, transcript_lag_s=0.2, stop_grace_s=0.1, webhook_retry_s=(300,))


async def test_starts_are_refused_before_descriptors_run_out(place: Path) -> None:
    async with open_stage(place, timing=TIMING) as stage:
        daemon = stage.daemon
        await daemon.start()
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (LIMIT, LIMIT))
        sessions = []
        async with trio.open_nursery() as nursery:

            async def begin() -> None:
                sessions.append(await stage.zoom.start_session())

            for _ in range(25):
                nursery.start_soon(begin)
        taken = [session for session in sessions if session.record.webhooks[0].status == 200]
        refused = [session for session in sessions if session.record.webhooks[0].status == 503]
        assert len(taken) + len(refused) == 25
        assert len(taken) > 3
        assert len(refused) > 3
        with trio.fail_after(LIMIT_S):
            for session in taken:
                await session.wait_reconnected()
        assert daemon.descriptors() < LIMIT
        # What the connections of 25 webhooks took is free again. For the moment of a flush a start may be refused
        # before they are short for good.
        with trio.fail_after(LIMIT_S):
            while "descriptors" not in {each["code"] for each in (await daemon.status())["degraded"]}:
                session = await stage.zoom.start_session()
                if session.record.webhooks[0].status == 200:
                    taken.append(session)
                    await session.wait_reconnected()
        (trouble,) = [each for each in (await daemon.status())["degraded"] if each["code"] == "descriptors"]
        assert str(LIMIT) in trouble["detail"]
        assert not [line for line in daemon.lines if "exception" in line]
        total = sum_of(await end_all(daemon, taken))
        # The starts that were refused are reported for an hour.
        await daemon.until_status(lambda status: {each["code"] for each in status["degraded"]} == {"starts_refused"})
    assert not total.faults
    assert total.recorded == total.sent > 0
