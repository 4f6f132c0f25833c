"""Lines that a killed member had not brought to its disk: the joined recording has them from the NATS servers."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from rtmsd.cluster.engines.nats.engine import NatsEngine
from rtmsd.cluster.engines.nats.settings import NatsSettings
from tests.faults.cluster import NODES, PARTITIONS, open_cluster
from tests.faults.process import LIMIT_S
from tests.faults.reckoning import lines_of, manifest_of, reckon, recording_of, stop_all

SYNC_S = 60.0  # longer than the member lives, unless the machine is very busy


@pytest.mark.long
async def test_what_a_killed_member_had_not_synced_is_in_the_joined_recording(
    place: Path, show: Callable[..., None]
) -> None:
    async with open_cluster(place) as stage:
        for member in stage.members.values():
            member.sections["recording"]["sync_interval_s"] = SYNC_S
        (session,) = await stage.live(1)
        name, node = session.rtms_stream_id, stage.owner(session)
        assert node is not None
        kept = await _kept(stage.servers.urls, name, at_least=3)
        stage.members[node].kill()
        await stage.members[node].reap()
        on_disk = sum(len(lines_of(path)) for path in stage.members[node].recordings.glob("*/*/transcript.jsonl"))
        await stage.until_elsewhere([session], node)
        await stage.start(node)
        heir = stage.owner(session)
        assert heir in NODES
        await stop_all([session])
        await stage.members[heir].until_all_ended()
        await stage.order(f"/v1/cluster/streams/{name}/gather", by=node)
        directory = recording_of(stage.members[heir].recordings, session)
        found = reckon(stage.members[heir].recordings, session)
        joined = [(line["timestamp_ms"], line["text"]) for line in lines_of(directory / "transcript.jsonl")]
        from_log = manifest_of(directory)["counters"].get("from_log", {})
    show(found, f"kept {len(kept)}, from the log {from_log}")
    assert not found.faults
    assert joined == sorted(joined)
    assert joined[: len(kept)] == kept
    assert from_log.get("transcript", 0) >= len(kept) - on_disk


async def _kept(urls: tuple[str, ...], rtms_stream_id: str, *, at_least: int) -> list[tuple[int, str]]:
    """Wait until the servers have so many lines of a transcript, and return what was said when."""
    settings = NatsSettings(name="test", node="reader", servers=urls, partitions=PARTITIONS, replicas=1)
    said: list[tuple[int, str]] = []
    async with NatsEngine.open(settings) as engine:
        with trio.fail_after(LIMIT_S):
            while len(said) < at_least:
                log = [each.record for each in await engine.log.read_log(rtms_stream_id)]
                lines = [json.loads(line) for each in log for line in each.lines.get("transcript", ())]
                said = [(line["timestamp_ms"], line["text"]) for line in lines]
                await trio.sleep(0.05)
    return said
