"""Cables that are pulled: between a member and the engine, between it and everybody, between the engine's servers."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from rtmsd.simulator import SimSession, two_at_once
from rtmsd.simulator.model.settings import DuplicateSignaling
from rtmsd.simulator.model.tenures import contests
from tests.faults.cluster import NODES
from tests.faults.namespaces import (
    ENGINE,
    ROUTES,
    ZOOM,
    CabledStage,
    Cables,
    NoNamespacesError,
    laid_cables,
    open_cabled_cluster,
)
from tests.faults.process import TIMING, until
from tests.faults.reckoning import Reckoning, sum_of

QUIET_S: Final = 5.0
STREAMS: Final = 6
ZOOMS: Final = ("refuse", "evict")
CUT_OFF: Final = {"second_connection", "keep_alives_unanswered"}
AT_FIRST: Final = 3  # connections of a stream: signaling, and two of media
SOON_DEAD: Final = attrs.evolve(TIMING, keep_alive_s=2)

pytestmark = pytest.mark.long


@pytest.fixture
def cables() -> Iterator[Cables]:
    try:
        with laid_cables() as cables:
            yield cables
    except NoNamespacesError as error:
        pytest.skip(f"no network namespaces here: {error}")


def judge(total: Reckoning, sessions: Sequence[SimSession], causes: set[str]) -> None:
    """Nothing is without a reason, and clients did no more wrong than to be cut off, and to dial whom others had."""
    assert not total.faults
    assert set(total.gaps) <= causes
    for session in sessions:
        assert {violation.name for violation in session.record.violations} <= CUT_OFF
        assert not two_at_once(session.record)


def has_changed(session: SimSession) -> bool:
    return len(session.record.connections) > AT_FIRST


def holders(session: SimSession) -> list[str]:
    """Return the addresses from which a stream's signaling connections came."""
    return [span.peer.host for span in session.record.connections if span.kind == "signaling"]


async def until_contested(sessions: Sequence[SimSession]) -> None:
    """Wait until others dial these streams, which they have claimed, while somebody is connected."""
    for session in sessions:
        await until(lambda: any(contests(session.record)))  # noqa: B023 waited for here


async def until_changes(sessions: Sequence[SimSession], changes: int) -> None:
    """Wait for so many changes of connection, and for media after the last."""
    for session in sessions:
        await until(lambda: len(holders(session)) > changes)  # noqa: B023 waited for here
        await session.wait_reconnected()


async def until_let_go(stage: CabledStage, node: str, sessions: Sequence[SimSession]) -> None:
    """Wait until a member has none of these streams any more."""
    for session in sessions:
        await stage.members[node].until_logged("stream let go", rtms_stream_id=session.rtms_stream_id)


async def stay(sessions: Sequence[SimSession]) -> None:
    """Let some time go by in which no stream is connected anew."""
    before = [len(session.record.connections) for session in sessions]
    await trio.sleep(QUIET_S)
    assert [len(session.record.connections) for session in sessions] == before


def away_s(session: SimSession) -> float:
    """Return how long after the end of its first signaling connection a stream had media again."""
    spans = session.record.connections
    end_ms = next(span.closed_ms for span in spans if span.kind == "signaling")
    assert end_ms is not None
    return (min(span.flows_ms for span in spans if span.flows_ms and span.flows_ms > end_ms) - end_ms) / 1000


@pytest.mark.parametrize("duplicate_signaling", ZOOMS)
@pytest.mark.parametrize("cut", ["member", "server"])
async def test_a_member_without_the_engine_keeps_its_streams_until_it_knows_better(
    place: Path,
    show: Callable[..., None],
    cables: Cables,
    duplicate_signaling: DuplicateSignaling,
    cut: str,
) -> None:
    """Its cable to the engine is pulled, or its server's to the others, which has led them and does not know yet."""
    async with open_cabled_cluster(place, cables, duplicate_signaling=duplicate_signaling) as stage:
        for each, url in zip(NODES, stage.servers.urls, strict=True):  # each is connected to its own server
            stage.members[each].sections["cluster"] = {**stage.members[each].sections["cluster"], "servers": [url]}
        sessions = await stage.live(STREAMS)
        server = await trio.to_thread.run_sync(stage.servers.leader, "TEST_00")
        node = NODES[server.number - 1]
        hit = [session for session in sessions if stage.owner(session) == node]
        others = [session for session in sessions if session not in hit]
        pulled = (node, ENGINE) if cut == "member" else (server.name, ROUTES)
        cables.pull(*pulled)
        await until_contested(hit)
        if duplicate_signaling == "evict":  # to another, back to it, which dials once without knowing, and to the other
            await until_changes(hit, 3)
        await stay(sessions)
        cables.plug(*pulled)
        await stage.until_elsewhere(hit, node)
        await until_let_go(stage, node, hit)
        await stage.until_well()
        await stay(sessions)
        total = sum_of(await stage.end_all(sessions))
    show(total)
    judge(total, sessions, {"node_takeover", "signaling_reconnect"})
    assert not total.lost
    assert all(len(holders(session)) <= (2 if duplicate_signaling == "refuse" else 4) for session in hit)
    assert not any(map(has_changed, others))


@pytest.mark.parametrize("duplicate_signaling", ZOOMS)
async def test_streams_of_a_machine_without_any_network_go_on_when_zoom_lets_go(
    place: Path, show: Callable[..., None], cables: Cables, duplicate_signaling: DuplicateSignaling
) -> None:
    async with open_cabled_cluster(place, cables, duplicate_signaling=duplicate_signaling, timing=SOON_DEAD) as stage:
        sessions = await stage.live(STREAMS)
        node, hit = stage.busiest(sessions)
        others = [session for session in sessions if session not in hit]
        cables.pull(node, ZOOM, ENGINE)
        await stage.until_elsewhere(hit, node)
        sessions.append(await stage.zoom.start_session())
        await sessions[-1].wait_reconnected()
        cables.plug(node, ZOOM, ENGINE)
        await until_let_go(stage, node, hit)
        await stage.until_well()
        await stay(sessions)
        total = sum_of(await stage.end_all(sessions))
    show(total, f"media up after {max(map(away_s, hit)):.1f} s")
    judge(total, sessions, {"node_takeover"})
    assert all(len(holders(session)) == 2 for session in hit)
    assert not any(map(has_changed, others))


async def test_a_server_without_any_network_costs_no_audio(
    place: Path, show: Callable[..., None], cables: Cables
) -> None:
    """Its members are away until they notice: others may have claimed their streams by then, and connect once."""
    async with open_cabled_cluster(place, cables) as stage:
        sessions = await stage.live(STREAMS)
        for server in stage.servers.each:
            cables.pull(server.name, ENGINE, ROUTES)
            await stage.until_well()
            sessions.append(await stage.zoom.start_session())
            await sessions[-1].wait_reconnected()
            cables.plug(server.name, ENGINE, ROUTES)
            await trio.to_thread.run_sync(stage.servers.wait)
        await stage.until_well()
        total = sum_of(await stage.end_all(sessions))
    show(total, f"changes of connection: {sum(len(holders(session)) - 1 for session in sessions)}")
    judge(total, sessions, {"node_takeover"})
    assert not total.lost
