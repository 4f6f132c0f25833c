"""The verbs of a cluster: what they ask for, what they show, and with which status they end."""

import json
from typing import Any

import pytest

from rtmsd.ctl.errors import Exit

Ctl = Any
FakeDaemon = Any
Capture = pytest.CaptureFixture[str]

ENGINE = {
    "trouble": None,
    "server": {"address": "n1:4222", "version": "2.11.4"},
    "servers": ["n1", "n2", "n3"],
    "leaders": {"n1": 9, "n2": 8},
    "behind": [],
    "bytes": 1536,
}


def member(node: str, state: str = "up", **more: Any) -> dict[str, Any]:
    return {
        "node": node,
        "state": state,
        "streams": 250,
        "capacity": 1000,
        "release": "1.2.0",
        "zone": "z1",
        "last_beat_s": 0.4,
        "drain": None,
        **more,
    }


def cluster(*members: dict[str, Any], wrong: Any = (), **engine: Any) -> dict[str, Any]:
    return {"node": "a", "members": members, "engine": ENGINE | engine, "wrong": wrong, "silent": {}}


def test_status_of_a_cluster_that_is_well(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["GET /v1/cluster"] = cluster(member("a"), member("b", "draining", streams=0))
    assert ctl("cluster", "status") == Exit.OK
    assert capsys.readouterr().out == (
        "NODE\tSTATE\tSTREAMS\tLOAD\tVERSION\tZONE\tLAST BEAT\n"
        "a\tup\t250 of 1000\t25%\t1.2.0\tz1\t0.4\n"
        "b\tdraining\t0 of 1000\t0%\t1.2.0\tz1\t0.4\n"
        "\n"
        "engine\n"
        "state\tup\n"
        "connected to\tn1:4222, version 2.11.4\n"
        "servers\tn1, n2, n3\n"
        "leader of\t9 n1, 8 n2\n"
        "behind\tnone\n"
        "kept\t1536\n"
    )


def test_status_fails_where_something_is_wrong(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    wrong = [
        {"code": "member_gone", "node": "c", "detail": "not heard for 12 s"},
        {"code": "engine_behind", "node": None, "detail": "n3 of RTMS_07 is offline"},
    ]
    behind = [{"stream": "RTMS_07", "server": "n3", "lag": 4, "offline": True}]
    answer = cluster(member("a"), member("c", "gone"), wrong=wrong, behind=behind)
    daemon.answers["GET /v1/cluster"] = answer
    assert ctl("cluster", "status") == Exit.FAILED
    out = capsys.readouterr().out
    assert "behind\tn3 of RTMS_07 (offline)\n" in out
    assert out.endswith("wrong: c: not heard for 12 s (member_gone)\nwrong: n3 of RTMS_07 is offline (engine_behind)\n")
    assert ctl("cluster", "status", "--json") == Exit.FAILED
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(answer))


def test_status_without_the_engine(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    lost: dict[str, Any] = {"server": None, "servers": [], "leaders": {}, "bytes": None}
    wrong = [{"code": "engine_away", "node": "a", "detail": "no server answers"}]
    daemon.answers["GET /v1/cluster"] = cluster(member("a"), wrong=wrong, trouble="no server answers", **lost)
    assert ctl("cluster", "status") == Exit.FAILED
    out = capsys.readouterr().out
    assert "state\taway: no server answers\nconnected to\t-\nservers\t-\nleader of\tnone\nbehind\t-\nkept\t-\n" in out


STREAM = {
    "rtms_stream_id": "9f2c" * 8,
    "node": "b",
    "epoch": 2,
    "state": "ended",
    "app": "main",
    "started_ms": 1_790_000_000_000,
    "ended_ms": 1_790_000_060_000,
    "gaps": 1,
    "flags": ["ungathered"],
    "why": None,
}


def test_ps_lists_all_and_names_who_did_not_answer(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    answer = {"streams": [STREAM], "silent": {"c": "no answer within 0.5 s"}}
    daemon.answers["GET /v1/cluster/streams?all=1"] = answer
    assert ctl("cluster", "ps", "-a") == Exit.OK
    shown = capsys.readouterr()
    assert shown.out == (
        "STREAM\tNODE\tEPOCH\tSTATE\tAGE\tGAPS\tAPP\tFLAGS\tWHY\n"
        f"{STREAM['rtms_stream_id']}\tb\t2\tended\t60.000\t1\tmain\tungathered\t-\n"
    )
    assert shown.err == "rtmsctl: without node c: no answer within 0.5 s\n"
    assert ctl("cluster", "ps", "-a", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == answer


def test_an_orphan_has_neither_node_nor_age(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    orphan = {"rtms_stream_id": "x", "node": None, "epoch": 3, "state": None, "flags": ["orphan"]}
    daemon.answers["GET /v1/cluster/streams"] = {"streams": [orphan], "silent": {}}
    assert ctl("cluster", "ps") == Exit.OK
    assert capsys.readouterr().out.splitlines()[1] == "x\t-\t3\t-\t0.000\t-\t-\torphan\t-"


def test_drain_begins(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["POST /v1/cluster/nodes/b/drain"] = {"nodes": ["b.1", "b.2"], "streams": 31}
    assert ctl("cluster", "drain", "b") == Exit.OK
    assert capsys.readouterr().out == "b.1, b.2 hand over 31 streams, and take no more\n"


@pytest.mark.parametrize(("kept", "status"), [({}, Exit.OK), ({"s2": "nobody has room"}, Exit.REFUSED)])
def test_drain_waits_for_the_end(
    ctl: Ctl, daemon: FakeDaemon, capsys: Capture, kept: dict[str, str], status: Exit
) -> None:
    daemon.answers["POST /v1/cluster/nodes/b/drain"] = {"nodes": ["b"], "streams": 2}
    report = {"running": False, "moved": 1, "stayed": len(kept), "why": kept, "trouble": None}
    daemon.answers["GET /v1/cluster"] = cluster(member("a"), member("b", "draining", drain=report))
    assert ctl("cluster", "drain", "b", "--wait") == status
    shown = capsys.readouterr()
    assert shown.out == f"b: 1 handed over, {len(kept)} kept\n"
    assert shown.err == "".join(f"rtmsctl: {stream} was not handed over: {why}\n" for stream, why in kept.items())


def test_a_drain_that_broke_off(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["POST /v1/cluster/nodes/b/drain"] = {"nodes": ["b"], "streams": 2}
    report = {"running": False, "moved": 0, "stayed": 0, "why": {}, "trouble": "a bug"}
    daemon.answers["GET /v1/cluster"] = cluster(member("b", drain=report))
    assert ctl("cluster", "drain", "b", "--wait") == Exit.FAILED
    assert capsys.readouterr().err == "rtmsctl: b: a bug\n"


@pytest.mark.parametrize("members", [[member("a")], [member("a"), member("b", "gone")]])
def test_drain_does_not_wait_for_who_is_gone(
    ctl: Ctl, daemon: FakeDaemon, capsys: Capture, members: list[dict[str, Any]]
) -> None:
    daemon.answers["POST /v1/cluster/nodes/b/drain"] = {"nodes": ["b"], "streams": 2}
    daemon.answers["GET /v1/cluster"] = cluster(*members)
    assert ctl("cluster", "drain", "b", "--wait") == Exit.FAILED
    assert "b is gone" in capsys.readouterr().err


def test_a_worker_that_was_started_again_is_told_again(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["POST /v1/cluster/nodes/b/drain"] = {"nodes": ["b.1"], "streams": 2}
    daemon.answers["POST /v1/cluster/nodes/b.1/drain"] = (
        409,
        {"code": "refused_in_state", "detail": "nobody has room"},
    )
    daemon.answers["GET /v1/cluster"] = cluster(member("b.1", "draining"))
    assert ctl("cluster", "drain", "b", "--wait") == Exit.REFUSED
    assert capsys.readouterr().err == "rtmsctl: nobody has room\n"


def test_an_order_that_is_gone_is_not_waited_for(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["POST /v1/cluster/nodes/b/drain"] = {"nodes": ["b"], "streams": 2}
    daemon.answers["GET /v1/cluster"] = cluster(member("b"))
    assert ctl("cluster", "drain", "b", "--wait") == Exit.FAILED
    assert "b takes streams again" in capsys.readouterr().err


def test_a_refusal_has_its_reason(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    refusal = {"code": "refused_in_state", "detail": "b: nobody has room: c has 10 of 10"}
    daemon.answers["POST /v1/cluster/streams/9f/move"] = (409, refusal)
    assert ctl("cluster", "move", "9f") == Exit.REFUSED
    assert capsys.readouterr().err == "rtmsctl: b: nobody has room: c has 10 of 10\n"


def test_undrain(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["POST /v1/cluster/nodes/b/undrain"] = {"nodes": ["b"]}
    assert ctl("cluster", "undrain", "b") == Exit.OK
    assert capsys.readouterr().out == "b takes streams again\n"


@pytest.mark.parametrize(("more", "body"), [((), {}), (("c",), {"node": "c"})])
def test_move(ctl: Ctl, daemon: FakeDaemon, capsys: Capture, more: tuple[str, ...], body: object) -> None:
    daemon.answers["POST /v1/cluster/streams/9f%2F2/move"] = {"rtms_stream_id": "9f/2c", "from_node": "b", "node": "c"}
    assert ctl("cluster", "move", "9f/2", *more) == Exit.OK
    assert capsys.readouterr().out == "9f/2c is on c now, and was on b\n"
    assert [json.loads(sent) for _, sent in daemon.requests] == [body]


JOINED = {
    "rtms_stream_id": "9f/2c",
    "node": "b",
    "directory": "/srv/9f%2F2c",
    "parts": ["c", "b"],
    "gaps": 1,
    "missing_ms": {"node_takeover": 800},
    "elsewhere_ms": {"a": 1200},
    "media_ms": {"audio": {"node_takeover": 300}, "transcript": {"node_takeover": 500}},
}


def test_gather(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["POST /v1/cluster/streams/9f%2F2/gather"] = JOINED
    assert ctl("recordings", "gather", "9f/2") == Exit.OK
    assert capsys.readouterr().out == (
        "node b: /srv/9f%2F2c: joined from 2 parts and verified, missing in all of them: audio 0.3s (node_takeover), "
        "transcript 0.5s (node_takeover), 1.2s only on node a\n"
    )
    assert ctl("recordings", "gather", "9f/2", "--json") == Exit.OK
    assert json.loads(capsys.readouterr().out) == JOINED


def test_what_a_member_of_an_older_version_joined_is_summed_up(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    older = {key: value for key, value in JOINED.items() if key != "media_ms"}
    daemon.answers["POST /v1/cluster/streams/9f%2F2/gather"] = older
    assert ctl("recordings", "gather", "9f/2") == Exit.OK
    assert "missing in all of them: all media 0.8s (node_takeover)" in capsys.readouterr().out


def test_what_cannot_be_gathered_has_its_reason(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    refusal = {"code": "refused_in_state", "detail": "b: node c: it is away"}
    daemon.answers["POST /v1/cluster/streams/9f/gather"] = (409, refusal)
    assert ctl("recordings", "gather", "9f") == Exit.REFUSED
    shown = capsys.readouterr().err
    assert shown.startswith("rtmsctl: b: node c: it is away\n")
    assert "--from" in shown


@pytest.mark.parametrize(
    "args", [("",), ("9f", "--to", "x"), ("9f", "--without-end"), ("9f", "--from", "x"), ("", "--from", "x")]
)
def test_gather_is_asked_of_the_cluster_or_of_directories(
    ctl: Ctl, daemon: FakeDaemon, capsys: Capture, args: tuple[str, ...]
) -> None:
    assert ctl("recordings", "gather", *args) == Exit.USAGE
    assert capsys.readouterr().err != ""
    assert daemon.requests == []


REFUSALS = {
    "move 9f": ("POST /v1/cluster/streams/9f/move", 409, "refused_in_state", Exit.REFUSED),
    "drain b": ("POST /v1/cluster/nodes/b/drain", 409, "refused_in_state", Exit.REFUSED),
    "undrain x": ("POST /v1/cluster/nodes/x/undrain", 404, "no_such_node", Exit.NO_SUCH_STREAM),
    "status": ("GET /v1/cluster", 409, "refused_in_state", Exit.REFUSED),
}


@pytest.mark.parametrize("line", REFUSALS)
def test_a_refusal_ends_with_its_status(ctl: Ctl, daemon: FakeDaemon, line: str) -> None:
    request, number, code, status = REFUSALS[line]
    daemon.answers[request] = (number, {"code": code, "detail": "it says why"})
    assert ctl("cluster", *line.split()) == status


@pytest.mark.parametrize("args", [("drain", ""), ("undrain", ""), ("move", "")])
def test_an_empty_name_is_asked_of_nobody(ctl: Ctl, daemon: FakeDaemon, args: tuple[str, ...]) -> None:
    assert ctl("cluster", *args) == Exit.USAGE
    assert daemon.requests == []


def test_what_members_say_cannot_steer_a_terminal(ctl: Ctl, daemon: FakeDaemon, capsys: Capture) -> None:
    bad = "\x1b[2J"
    wrong = [{"code": bad, "node": bad, "detail": bad}]
    daemon.answers["GET /v1/cluster"] = cluster(member(bad, bad, release=bad, zone=bad), wrong=wrong, trouble=bad)
    daemon.answers["GET /v1/cluster/streams"] = {
        "streams": [STREAM | {"node": bad, "why": bad, "flags": [bad], "state": bad}],
        "silent": {bad: bad},
    }
    ctl("cluster", "status")
    ctl("cluster", "ps")
    shown = capsys.readouterr()
    assert "\x1b" not in shown.out + shown.err
