"""A cluster seen and controlled by rtmsctl, from any of its members."""

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from rtmsd.ctl.errors import Exit
from tests.faults.cluster import NODES, ClusterStage, open_cluster
from tests.faults.process import until


@attrs.frozen
class Said:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def ctl(stage: ClusterStage, node: str, *args: str) -> Said:
    socket = stage.members[node].directory / "admin.sock"
    command = [sys.executable, "-m", "rtmsd.ctl", "--socket", str(socket), *args]
    run = partial(trio.run_process, command, capture_stdout=True, capture_stderr=True, check=False)
    done = await run()
    return Said(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.mark.long
async def test_any_member_shows_and_controls_all(place: Path) -> None:
    async with open_cluster(place) as stage:
        sessions = await stage.live(3)
        session = sessions[0]
        name = session.rtms_stream_id
        owner = stage.owner(session)
        assert owner is not None
        other, third = (node for node in NODES if node != owner)

        status = await ctl(stage, other, "cluster", "status", "--json")
        assert [(each["node"], each["state"]) for each in status.json["members"]] == [(node, "up") for node in NODES]
        assert (status.status, status.json["wrong"]) == (Exit.OK, [])
        assert re.fullmatch(r"\d+\.\d+\.\d+.*", status.json["engine"]["server"]["version"])
        assert status.json["engine"]["bytes"] > 0

        listed = (await ctl(stage, other, "cluster", "ps", "--json")).json
        assert {each["rtms_stream_id"]: each["node"] for each in listed["streams"]} == stage.owners(sessions)
        assert {(each["epoch"], *each["flags"]) for each in listed["streams"]} == {(1,)}
        assert listed["silent"] == {}

        # A stream of another member
        described = (await ctl(stage, other, "inspect", name, "--json")).json
        assert (described["node"], described["rtms_stream_id"]) == (owner, name)
        assert (await ctl(stage, other, "reconnect", name)).status == Exit.OK
        tap = await ctl(stage, other, "tap", name)
        assert (tap.status, f"is on node {owner}" in tap.err) == (Exit.REFUSED, True)
        await until(lambda: stage.owner(session) == owner)
        await session.wait_reconnected()

        # Hand-over
        moved = await ctl(stage, other, "cluster", "move", name, third)
        assert (moved.status, moved.out) == (Exit.OK, f"{name} is on {third} now, and was on {owner}\n"), moved.err
        await stage.until_elsewhere([session], owner)
        assert stage.owner(session) == third
        drained = await ctl(stage, other, "cluster", "drain", third, "--wait")
        assert drained.status == Exit.OK, drained.err
        await stage.until_elsewhere(sessions, third)
        assert (await ctl(stage, other, "cluster", "undrain", third)).status == Exit.OK

        # What is wrong
        doctor = (await ctl(stage, owner, "doctor", "--offline", "--json")).json
        found = {each["check"]: each["ok"] for each in doctor}
        assert [found[check] for check in ("engine", "permissions", "replicas", "members")] == [True] * 4
        stage.members[third].kill()
        await stage.members[third].reap()

        async def wrong() -> set[tuple[str, str]]:
            status = await ctl(stage, other, "cluster", "status", "--json")
            assert (status.status == Exit.OK) == (not status.json["wrong"])
            return {(each["code"], each["node"]) for each in status.json["wrong"]}

        while ("member_gone", third) not in await wrong():  # noqa: ASYNC110 the admin API has no event for it
            await trio.sleep(0.3)
        metrics = (await ctl(stage, other, "metrics")).out
        assert 'rtmsd_cluster_members{state="gone"} 1.0' in metrics
        await stage.end_all(sessions)
