"""SIGKILL at any instant: it costs at most the media of the last `sync_interval_s`, and every gap has its cause."""

import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import attrs
import pytest
import trio

from rtmsd.protocol.enums import StatusCode
from rtmsd.simulator import Fate, SimSession
from tests.faults.process import Stage, is_machine_busy, open_stage
from tests.faults.reckoning import Reckoning, end_all, manifest_of, percentile, read_track, reckon, recording_of, sum_of

SYNC_S = 0.5
UNNOTICED_S = 0.1  # what Zoom sends to nobody, until the kernel reports the closed socket
BUSY_S = 0.25  # for a read or a flush that came late


class Kill(NamedTuple):
    """Its time, and the start of the next process: nobody received what was sent in between."""

    at_s: float
    until_s: float


@attrs.define
class Toll:
    """The cost of kills, an entry for each kill and stream.

    Attributes:
        live_ms: media lost that came in time. late_ms: with what came out of Zoom's buffer after a restart: many
            seconds in a moment.
        age_s: how long before the kill the oldest lost packet was sent.
    """

    kills: int = 0
    live_ms: list[int] = attrs.field(factory=list)
    late_ms: list[int] = attrs.field(factory=list)
    age_s: list[float] = attrs.field(factory=list)

    def __str__(self) -> str:
        return (
            f"{self.kills} kills of {len(self.age_s) // max(1, self.kills)} streams; live media lost per kill: "
            f"max {max(self.live_ms)} ms, p99 {percentile(self.live_ms, 0.99):.0f} ms, "
            f"median {percentile(self.live_ms, 0.5):.0f} ms; with buffered media max {max(self.late_ms)} ms; "
            f"oldest lost packet came {max(self.age_s):.3f} s before its kill"
        )


def toll(kills: list[Kill], reckonings: list[Reckoning]) -> Toll:
    """Attribute each lost packet to the kill after it was sent, or just before."""
    result = Toll(len(kills))
    for reckoning in reckonings:
        live: dict[Kill, Counter[int]] = {kill: Counter() for kill in kills}
        late: dict[Kill, Counter[int]] = {kill: Counter() for kill in kills}
        ages = dict.fromkeys(kills, 0.0)
        for packet in reckoning.lost:
            kill = min((kill for kill in kills if kill.until_s >= packet.sent_s - UNNOTICED_S), default=None)
            assert kill is not None, f"lost without a kill: {packet[:5]}"
            late[kill][packet.user_id] += packet.duration_ms
            live[kill][packet.user_id] += packet.duration_ms if packet.fate is Fate.SENT else 0
            ages[kill] = max(ages[kill], kill.at_s - packet.sent_s)
        result.live_ms += [max(lost.values(), default=0) for lost in live.values()]
        result.late_ms += [max(lost.values(), default=0) for lost in late.values()]
        result.age_s += list(ages.values())
    return result


def check_readable(recordings: Path) -> None:
    """Any program can read the files of a killed daemon before their repair."""
    for path in recordings.glob("*/*/audio/*.wav"):
        read_track(path)


async def kill_again_and_again(stage: Stage, times: int, sessions: list[SimSession], seed: int) -> list[Kill]:
    """Kill at random instants: while it starts, while it resumes, while buffered audio pours in, later. Then start."""
    chance = random.Random(seed)
    daemon, kills = stage.daemon, []
    for number in range(times):
        if number == 0:
            pass  # the first process was started for us
        elif number % 10 == 4:  # while it imports, or is just there; and Zoom's buffer fills
            daemon.spawn(is_cold=True)
            await trio.sleep(chance.uniform(0.2, 1.6))
        elif number % 10 == 9:  # before it is ready: repairs, handshakes
            daemon.spawn()
            await trio.sleep(chance.uniform(0, 0.2))
        else:
            await daemon.start()
            is_early = number % 3 == 0 or number % 10 == 5
            await trio.sleep(chance.uniform(0, 0.3) if is_early else chance.uniform(0.2, 0.9))
        if number % 25 == 0:
            sessions.append(await stage.zoom.start_session())
        daemon.kill()
        kills.append(daemon.killed_s)
        assert await daemon.reap() == -signal.SIGKILL
        check_readable(daemon.recordings)
    await daemon.start()
    return [Kill(*times_s) for times_s in zip(kills, daemon.spawned_s[1:], strict=True)]


async def play(place: Path, kills: int, seed: int) -> tuple[Toll, Reckoning]:
    async with open_stage(place) as stage:
        await stage.daemon.start()
        sessions = [await stage.zoom.start_session() for _ in range(3)]
        killed = await kill_again_and_again(stage, kills, sessions, seed)
        for session in sessions:
            await session.wait_reconnected()
        reckonings = await end_all(stage.daemon, sessions)
        violations = [violation for session in sessions for violation in session.record.violations]
        assert await stage.daemon.stop() == 0
    assert not violations
    return toll(killed, reckonings), sum_of(reckonings)


async def test_fifty_kills(place: Path, show: Callable[..., None]) -> None:
    cost, total = await play(place, 50, seed=1)
    show(cost, total)
    assert not total.faults
    assert set(total.gaps) == {"daemon_restart"}
    assert total.lost
    assert max(cost.age_s) <= SYNC_S + BUSY_S or is_machine_busy()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 12))
async def test_five_hundred_kills(place: Path, show: Callable[..., None], seed: int) -> None:
    cost, total = await play(place, 50, seed)
    show(cost, total)
    assert not total.faults
    assert max(cost.age_s) <= SYNC_S + BUSY_S or is_machine_busy()


async def test_killed_between_the_answer_and_the_work(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon, answered, others = stage.daemon, list[SimSession](), list[SimSession]()
        while len(answered) < 4:
            await daemon.start()
            stage.gate.on_answer = lambda answer: daemon.kill()
            session = await stage.zoom.start_session()
            stage.gate.on_answer = lambda answer: None
            # What is answered so Zoom never sends again. Perhaps the daemon died of an answer about an earlier session.
            is_answered = session.record.webhooks[-1].status == 200
            (answered if is_answered else others).append(session)
            await daemon.reap()
        await daemon.start()
        sessions = [*others, *answered]
        for session in sessions:
            await session.wait_reconnected()
        *killed_again, last = await end_all(daemon, sessions)
    assert not sum_of(killed_again).faults
    assert not last.faults
    assert last.recorded == last.sent > 0  # what nobody had fetched came out of Zoom's buffer
    assert last.gap_ms == 0


async def test_killed_right_after_the_answer_to_a_stop(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        [session] = await stage.live()
        await trio.sleep(2 * SYNC_S)
        stage.gate.on_answer = lambda answer: daemon.kill()
        assert await session.stop(webhook="only") == 200
        stage.gate.on_answer = lambda answer: None
        await daemon.reap()
        await daemon.start()
        await daemon.until_all_ended()
        directory = recording_of(daemon.recordings, session)
        assert (manifest_of(directory)["state"], manifest_of(directory)["stop_reason"]) == ("ended", 6)
        assert not reckon(daemon.recordings, session).faults
        assert len(session.record.handshakes) == 3  # nobody knocked again


async def test_stopped_while_the_daemon_was_down(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        [session] = await stage.live()
        daemon.kill()
        await daemon.reap()
        await session.stop()
        assert session.record.webhooks[-1].status is None
        await daemon.start()  # by its journal the stream lives; Zoom knows better, and says so again a moment later
        await daemon.until_all_ended()
        assert manifest_of(recording_of(daemon.recordings, session))["state"] == "ended"
        assert not reckon(daemon.recordings, session).faults


async def test_a_slot_that_zoom_has_not_freed_yet(place: Path) -> None:
    async with open_stage(place) as stage:
        daemon = stage.daemon
        [session] = await stage.live()
        daemon.kill()
        await daemon.reap()
        session.refuse_next(StatusCode.DUPLICATE_SIGNAL_REQUEST, 4)
        await daemon.start()
        await session.wait_reconnected()
        total = sum_of(await end_all(daemon, [session]))
    assert [handshake.status_code for handshake in session.record.refusals()] == [8] * 4
    assert not total.faults
