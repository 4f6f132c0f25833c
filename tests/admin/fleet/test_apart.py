"""Workers that share no disk: lists are of all, and a recording or delivery is dealt with where it is."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from rtmsd.admin.commands import COMMANDS, Spread
from rtmsd.admin.fleet import findings, kept, samples, status
from rtmsd.admin.fleet.kept import APART, SHARED, Disks
from rtmsd.admin.fleet.peers import Answers
from rtmsd.admin.messages import AdminError, Code, JsonObject
from rtmsd.errors import StorageError
from tests.admin.fleet.crew import PARENT, STRANGER, Backend, ended, live, workers
from tests.admin.fleet.test_one_answer import a_status


class Desk:
    """Deliveries by number, with their states."""

    def __init__(self, states: dict[int, str]) -> None:
        self.states = states

    async def listed(self) -> Sequence[dict[str, Any]]:
        return [{"id": number, "state": state} for number, state in self.states.items()]

    async def show(self, number: int) -> dict[str, Any]:
        if number not in self.states:
            raise AdminError(Code.NO_SUCH_DELIVERY, f"no delivery has the id {number}")
        return {"id": number, "state": self.states[number]}

    async def replay(self, number: int) -> dict[str, Any]:
        if (await self.show(number))["state"] != "dead":
            raise AdminError(Code.REFUSED_IN_STATE, f"delivery {number} is {self.states[number]}")
        self.states[number] = "waiting"
        return await self.show(number)


class Keeper(Backend):
    """A worker with recordings, by when each ended, and deliveries of its own."""

    def __init__(self, *streams: dict[str, Any], recorded: dict[str, int], **states: str) -> None:
        super().__init__(*streams)
        self.recorded = recorded
        self.deliveries = self.desk = Desk({int(number.removeprefix("d")): each for number, each in states.items()})

    async def recordings(self) -> Sequence[dict[str, Any]]:
        return [
            {"rtms_stream_id": name, "ended_ms": ended_ms, "changed_ms": 99} for name, ended_ms in self.recorded.items()
        ]

    async def remove_recording(self, rtms_stream_id: str) -> None:
        if rtms_stream_id not in self.recorded:
            raise AdminError(Code.NO_SUCH_RECORDING, f"nothing is recorded under the id {rtms_stream_id!r}")
        if any(each["rtms_stream_id"] == rtms_stream_id for each in self.streams(include_ended=False)):
            raise AdminError(Code.REFUSED_IN_STATE, f"{rtms_stream_id} is being recorded")
        await super().remove_recording(rtms_stream_id)
        del self.recorded[rtms_stream_id]


def keepers() -> tuple[Keeper, Keeper]:
    return Keeper(recorded={"a": 1, "both": 3}, d7="dead"), Keeper(recorded={"both": 2}, d1000000001="done")


async def test_lists_are_of_all_with_the_worker_of_each(autojump_clock: MockClock, tmp_path: Path) -> None:
    async with workers(tmp_path, *keepers(), silent=["3"], disks=APART) as crew:
        recorded = await crew[1].ask("GET /v1/recordings")
        assert [(each["rtms_stream_id"], each["worker"]) for each in json.loads(recorded.body)] == [
            ("a", "1"),
            ("both", "2"),
            ("both", "1"),
        ]
        queued = await crew[0].ask("GET /v1/deliveries")
        assert [(each["id"], each["worker"]) for each in json.loads(queued.body)] == [(7, "1"), (1_000_000_001, "2")]
    for answered in (recorded, queued):
        assert (answered.headers["rtmsd-workers"], answered.headers["rtmsd-silent"]) == ("1 2 3", "3")


def test_lists_of_another_version_break_nothing() -> None:
    strange: list[JsonObject] = [{}, {"rtms_stream_id": 3, "ended_ms": "x"}, {"id": None}]
    assert len(kept.recordings({"1": strange, "2": strange})) == len(kept.deliveries({"1": strange, "2": strange})) == 6


@pytest.mark.parametrize("asked", [0, 1])
async def test_all_parts_of_a_stream_are_removed(autojump_clock: MockClock, tmp_path: Path, asked: int) -> None:
    one, two = keepers()
    async with workers(tmp_path, one, two, disks=APART) as crew:
        assert await crew[asked].json("DELETE /v1/recordings/both") == {"rtms_stream_id": "both"}
        assert await crew[asked].json("DELETE /v1/recordings/a") == {"rtms_stream_id": "a", "worker": "1"}
        assert (await crew[asked].json("DELETE /v1/recordings/a"))["code"] == "no_such_recording"
        assert (await crew[asked].ask("DELETE /v1/recordings/both", caller=STRANGER)).status == 403
    assert one.recorded == two.recorded == {}


async def test_no_part_is_removed_while_the_stream_lives(autojump_clock: MockClock, tmp_path: Path) -> None:
    one, two = Keeper(ended("s", 1), recorded={"s": 1}), Keeper(live("s"), recorded={"s": 0})
    async with workers(tmp_path, one, two, disks=APART) as crew:
        refused = await crew[0].json("DELETE /v1/recordings/s")
    assert (refused["code"], refused["detail"]) == ("refused_in_state", "s is being recorded")
    assert (one.recorded, two.recorded) == ({"s": 1}, {"s": 0})


async def test_a_part_that_is_left_is_no_success(autojump_clock: MockClock, tmp_path: Path) -> None:
    """It can be tried again: what is gone already is unknown then."""
    one, two = keepers()
    two.failure = StorageError("/r: no such device")
    async with workers(tmp_path, one, two, disks=APART) as crew:
        refused = await crew[0].json("DELETE /v1/recordings/both")
        assert (refused["code"], refused["detail"]) == ("failed", "/r: no such device")
        two.failure = None
        assert (await crew[0].ask("DELETE /v1/recordings/both")).status == 200
    assert "both" not in one.recorded | two.recorded


@pytest.mark.parametrize("asked", [0, 1])
async def test_a_delivery_is_where_its_number_is(autojump_clock: MockClock, tmp_path: Path, asked: int) -> None:
    one, two = keepers()
    async with workers(tmp_path, one, two, disks=APART) as crew:
        shown = await crew[asked].json("GET /v1/deliveries/1000000001")
        assert shown == {"id": 1_000_000_001, "state": "done", "worker": "2"}
        refused = await crew[asked].json("POST /v1/deliveries/1000000001/replay")
        assert refused["detail"] == "delivery 1000000001 is done"
        assert (await crew[asked].json("POST /v1/deliveries/7/replay"))["state"] == "waiting"
        assert (await crew[asked].json("GET /v1/deliveries/8"))["code"] == "no_such_delivery"
    assert one.desk.states == {7: "waiting"}


async def test_a_silent_worker_may_have_it(autojump_clock: MockClock, tmp_path: Path) -> None:
    one, two = keepers()
    async with workers(tmp_path, one, two, silent=["3"], disks=APART) as crew:
        assert (await crew[0].ask("GET /v1/deliveries/1000000001")).status == 200  # no other has that number
        for line in ("GET /v1/deliveries/8", "POST /v1/deliveries/8/replay", "DELETE /v1/recordings/both"):
            refused = await crew[0].json(line)
            assert (refused["code"], refused["silent"]) == ("timed_out", ["3"]), line
    assert one.recorded.keys() == {"a", "both"}


def test_each_command_that_concerns_a_disk_is_one() -> None:
    spreads = {command.name: command.spread for command in COMMANDS}
    assert all(spreads[name] in (Spread.ANY, Spread.OWNER) for name in APART.spreads)
    by_keepers = [each for each in COMMANDS if APART.spreads.get(each.name) is Spread.KEEPERS]
    assert all(len(re.findall(r"\{\w+\}", command.path)) == 1 for command in by_keepers)  # what they may have


# Status and metrics


def test_what_each_has_on_disk_is_added_up() -> None:
    one, two = (
        a_status(
            totals={**a_status()["totals"], "lost": {"refused": 1}},
            deliveries={"dead": 2},
            disk={**a_status()["disk"], "directories": [{"directory": directory}]},
        )
        for directory in ("/r", "/r/workers/2")
    )
    merged = status.merged(Answers({"1": one, "2": two}, {}), "1", PARENT, disks=APART)
    assert merged["totals"]["lost"] == {"refused": 2}
    assert merged["deliveries"] == {"dead": 4}
    assert [each["directory"] for each in merged["disk"]["directories"]] == ["/r", "/r/workers/2"]


def test_what_each_has_not_delivered_is_its_own_trouble() -> None:
    dead = {"code": "deliveries_dead", "detail": "2 not delivered"}
    heard = {str(worker): a_status(degraded=[dead]) for worker in (1, 2)}
    merged = status.merged(Answers(heard, {}), "1", PARENT, disks=APART)
    assert merged["degraded"] == [{**dead, "worker": "1"}, {**dead, "worker": "2"}]
    failed = [{"check": "deliveries", "ok": False, "detail": "2 not delivered"}]
    [found, _] = findings.merged(Answers({"1": failed, "2": failed}, {}), "1", disks=APART)
    assert found["detail"] == "worker 1: 2 not delivered; worker 2: 2 not delivered"


@pytest.mark.parametrize(("disks", "number"), [(SHARED, 3.0), (APART, 5.0)])
def test_deliveries_are_counted_once(disks: Disks, number: float) -> None:
    texts = (f'# TYPE rtmsd_deliveries gauge\nrtmsd_deliveries{{sink="s"}} {count}\n' for count in (2, 3))
    by_worker = {str(worker): samples.parsed(text) for worker, text in enumerate(texts, 1)}
    assert f'rtmsd_deliveries{{sink="s"}} {number}' in samples.merged(by_worker, (), (), disks=disks).splitlines()
