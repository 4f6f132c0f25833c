"""Three members whose processes are killed and frozen, and whose servers are lost: one owner, and nothing is lost."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import trio

from rtmsd.simulator import SimSession, two_at_once
from rtmsd.simulator.model.settings import DuplicateSignaling
from tests.faults.cluster import NODES, PARTITIONS, open_cluster
from tests.faults.reckoning import Reckoning, sum_of

FROZEN_S = 6.0  # others claim after 3 to 4


def judge(total: Reckoning, sessions: Sequence[SimSession], causes: set[str]) -> None:
    assert not total.faults
    assert set(total.gaps) <= causes
    for session in sessions:
        assert not session.record.violations
        assert not two_at_once(session.record)


async def test_streams_of_a_killed_member_go_on_at_others_and_it_comes_back(
    place: Path, show: Callable[..., None]
) -> None:
    async with open_cluster(place) as stage:
        sessions = await stage.live(6)
        node, hit = stage.busiest(sessions)
        stage.members[node].kill()
        await stage.until_elsewhere(hit, node)
        await stage.members[node].reap()
        before = stage.owners(sessions)
        await stage.start(node)
        sessions.append(await stage.zoom.start_session())
        await sessions[-1].wait_reconnected()
        assert before.items() <= stage.owners(sessions).items()  # it leaves others what is theirs
        total = sum_of(await stage.end_all(sessions))
    show(total)
    judge(total, sessions, {"node_takeover"})
    assert sum(len(session.record.connections) > 3 for session in sessions) == len(hit)


@pytest.mark.long
@pytest.mark.parametrize("duplicate_signaling", ["refuse", "evict"])
async def test_a_frozen_member_lets_go_when_it_wakes(
    place: Path, show: Callable[..., None], duplicate_signaling: DuplicateSignaling
) -> None:
    async with open_cluster(place, 3, duplicate_signaling=duplicate_signaling) as stage:
        sessions = await stage.live(6)
        node, hit = stage.busiest(sessions)
        await stage.freeze(node, FROZEN_S)
        await stage.until_elsewhere(hit, node)
        await trio.sleep(2)  # it must stay so
        assert node not in stage.owners(hit).values()
        total = sum_of(await stage.end_all(sessions))
    show(total)
    assert not total.faults
    assert set(total.gaps) <= {"node_takeover", "signaling_reconnect"}
    for session in sessions:
        assert not session.record.violations
        assert len([span for span in session.record.connections if span.kind == "signaling"]) <= 1 + (session in hit)


@pytest.mark.long
@pytest.mark.parametrize("duplicate_signaling", ["refuse", "evict"])
async def test_a_drained_member_hands_its_streams_over_without_loss_of_audio(
    place: Path, show: Callable[..., None], duplicate_signaling: DuplicateSignaling
) -> None:
    async with open_cluster(place, 3, duplicate_signaling=duplicate_signaling) as stage:
        sessions = await stage.live(9)
        for node in NODES:
            hit = [session for session in sessions if stage.owner(session) == node]
            await stage.order(f"/v1/cluster/nodes/{node}/drain", by=node)
            await stage.until_elsewhere(hit, node)
            await stage.order(f"/v1/cluster/nodes/{node}/undrain", by=node)
        total = sum_of(await stage.end_all(sessions))
    show(total)
    judge(total, sessions, {"node_takeover"})
    assert not total.lost


@pytest.mark.long
async def test_the_loss_of_the_leading_server_harms_no_stream(place: Path, show: Callable[..., None]) -> None:
    async with open_cluster(place, 3) as stage:
        sessions = await stage.live(6)
        for number in range(PARTITIONS):
            leader = await trio.to_thread.run_sync(stage.servers.leader, f"TEST_{number:02}")
            leader.kill()
            sessions.append(await stage.zoom.start_session())
            await sessions[-1].wait_reconnected()
            leader.start()
            await trio.to_thread.run_sync(stage.servers.wait)
        total = sum_of(await stage.end_all(sessions))
    show(total)
    judge(total, sessions, set())
    assert all(len(session.record.connections) == 3 for session in sessions)


@pytest.mark.long
@pytest.mark.parametrize("servers", [1, 3])
async def test_streams_go_on_without_any_server_and_new_ones_begin(
    place: Path, show: Callable[..., None], servers: int
) -> None:
    async with open_cluster(place, servers) as stage:
        sessions = await stage.live(6)
        before = stage.owners(sessions)
        await trio.to_thread.run_sync(stage.servers.kill)
        await trio.sleep(5)
        sessions.append(await stage.zoom.start_session())
        assert sessions[-1].record.webhooks[0].status == 200
        await sessions[-1].wait_reconnected()
        stage.servers.start()
        await trio.to_thread.run_sync(stage.servers.wait)
        await stage.until_well()
        assert before.items() <= stage.owners(sessions).items()
        total = sum_of(await stage.end_all(sessions))
    show(total)
    judge(total, sessions, set())
    assert all(len(session.record.connections) == 3 for session in sessions[:-1])


@pytest.mark.long
@pytest.mark.parametrize("servers", [1, 3])
async def test_members_are_killed_again_and_again(place: Path, show: Callable[..., None], servers: int) -> None:
    async with open_cluster(place, servers) as stage:
        sessions = await stage.live(9)
        for node in NODES * 3:
            hit = [session for session in sessions if stage.owner(session) == node]
            stage.members[node].kill()
            await stage.members[node].reap()
            await stage.until_elsewhere(hit, node)
            await stage.start(node)
        total = sum_of(await stage.end_all(sessions))
    show(total)
    judge(total, sessions, {"node_takeover"})
