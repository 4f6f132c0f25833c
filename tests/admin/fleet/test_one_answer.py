"""Several answers as one: status, streams, findings."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.admin.fleet import findings, status, streams
from rtmsd.admin.fleet.peers import Answers
from rtmsd.admin.fleet.status import ParentProcess
from tests.admin.fleet.crew import ended, live

PARENT = ParentProcess(pid=4711, began_s=0.0)


def one_status(*each: dict[str, Any]) -> dict[str, Any]:
    heard = {str(number): one for number, one in enumerate(each, 1)}
    return dict(status.merged(Answers(heard, {}), "1", PARENT))


def a_status(**more: Any) -> dict[str, Any]:
    return {
        "version": "1",
        "pid": 1,
        "tasks": 10,
        "uptime_s": 5.0,
        "phase": "serving",
        "ready": True,
        "draining": False,
        "degraded": [],
        "streams": {},
        "totals": {"streams": 0, "ended": {}, "lost": {}, "messages": {}, "dropped": 0},
        "disk": {
            "free_bytes": 100,
            "pending_bytes": 0,
            "last_sync_age_s": 0.1,
            "unsynced_s": 0.1,
            "unsynced_max_s": 0.2,
            "error": None,
            "directories": [{"directory": "/r"}],
        },
        "state": {"file": "/s", "error": None, "set_aside": None},
        "deliveries": {"dead": 0},
        "warnings": [],
        "listening": {"admin": ["/a"]},
        "webhook": {"last_ms": None, "results": {}},
        "config_file": "/c",
        **more,
    }


def test_counts_are_summed_and_what_is_shared_is_told_once() -> None:
    first = a_status(
        streams={"active": 2, "paused": 1},
        totals={"streams": 5, "ended": {"ended": 1}, "lost": {"refused": 2}, "messages": {"audio": 7}, "dropped": 1},
        disk={**a_status()["disk"], "pending_bytes": 10, "unsynced_s": 0.5},
        webhook={"last_ms": 3, "results": {"accepted": 1}},
        warnings=["a", "b"],
        deliveries={"dead": 1},
    )
    second = a_status(
        streams={"active": 3},
        totals={"streams": 4, "ended": {"failed": 1}, "lost": {"refused": 3}, "messages": {"audio": 5}, "dropped": 2},
        disk={**a_status()["disk"], "free_bytes": 90, "pending_bytes": 20, "error": "EIO"},
        webhook={"last_ms": 9, "results": {"accepted": 2, "late": 1}},
        warnings=["b", "c"],
        deliveries={"dead": 1},
    )
    merged = one_status(first, second)
    assert merged["pid"] == 4711
    assert merged["streams"] == {"active": 5, "paused": 1}
    assert merged["totals"] == {
        "streams": 9,
        "ended": {"ended": 1, "failed": 1},
        "lost": {"refused": 3},
        "messages": {"audio": 12},
        "dropped": 3,
    }
    assert merged["disk"] == {
        "free_bytes": 90,
        "pending_bytes": 30,
        "last_sync_age_s": 0.1,
        "unsynced_s": 0.5,
        "unsynced_max_s": 0.2,
        "error": "EIO",
        "directories": [{"directory": "/r"}],
    }
    assert merged["webhook"] == {"last_ms": 9, "results": {"accepted": 3, "late": 1}}
    assert (merged["warnings"], merged["deliveries"]) == (["a", "b", "c"], {"dead": 1})
    assert merged["listening"] == {"admin": ["/a"]}
    assert [each["streams"] for each in merged["workers"]] == [3, 3]
    assert a_status().keys() <= merged.keys()


def test_a_trouble_names_its_worker_unless_several_have_it() -> None:
    low = {"code": "disk_low", "detail": "100 bytes free in /r"}
    silent = {"code": "no_media", "detail": "nothing for 15 s: abc"}
    merged = one_status(a_status(degraded=[low]), a_status(degraded=[{**low, "detail": "99 bytes free in /r"}, silent]))
    assert merged["degraded"] == [low, {**silent, "worker": "2"}]


@pytest.mark.parametrize(
    ("phases", "ready", "phase"),
    [
        ([("serving", True), ("starting", False)], True, "serving"),
        ([("starting", False), ("starting", False)], False, "starting"),
        ([("stopping", False), ("serving", True)], True, "stopping"),
    ],
)
def test_the_daemon_serves_as_soon_as_a_worker_does(phases: list[tuple[str, bool]], ready: bool, phase: str) -> None:
    merged = one_status(*(a_status(phase=one, ready=is_ready) for one, is_ready in phases))
    assert (merged["ready"], merged["phase"]) == (ready, phase)


def test_the_daemon_drains_when_all_workers_do() -> None:
    assert one_status(a_status(draining=True), a_status(draining=True))["draining"] is True
    assert one_status(a_status(draining=True), a_status(draining=False))["draining"] is False


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(sorted(a_status())), ANYTHING))
def test_a_status_of_another_version_never_breaks_the_answer(strange: dict[str, Any]) -> None:
    merged = one_status(a_status(), strange)
    assert [each["worker"] for each in merged["workers"]] == ["1", "2"]
    assert merged.keys() >= a_status().keys()


def test_workers_are_in_the_order_of_their_numbers() -> None:
    merged = one_status(*(a_status(pid=number) for number in range(1, 13)))
    assert [each["pid"] for each in merged["workers"]] == list(range(1, 13))


# Streams


def test_live_streams_come_first_by_start_then_ended_ones_by_end() -> None:
    lists = {"1": [live("c", 3), ended("x", 9)], "2": [live("a", 1), live("d", 4), ended("y", 8)]}
    merged = streams.merged(lists)
    assert [(each["rtms_stream_id"], each["worker"]) for each in merged] == [
        *[("a", "2"), ("c", "1"), ("d", "2")],
        *[("y", "2"), ("x", "1")],
    ]


def test_a_stream_that_moved_is_told_once() -> None:
    lists = {"1": [ended("a", 9), ended("b", 9)], "2": [live("a", 1), ended("b", 5)]}
    merged = streams.merged(lists)
    assert [(each["rtms_stream_id"], each["state"], each["worker"]) for each in merged] == [
        ("a", "active", "2"),
        ("b", "ended", "1"),
    ]


def lost(name: str, last_ms: int, state: str = "refused") -> dict[str, Any]:
    return {**live(name), "state": state, "lost": {"loss": state, "times": 1, "first_ms": 1, "last_ms": last_ms}}


def test_a_start_that_was_refused_is_of_no_worker_and_gone_when_it_was_taken() -> None:
    lists = {"1": [lost("a", 5), lost("b", 5)], "2": [lost("a", 5), lost("b", 7), live("b"), ended("a", 3)]}
    merged = streams.merged(lists)
    assert [(each["rtms_stream_id"], each["state"], each["worker"]) for each in merged] == [
        ("b", "active", "2"),
        ("a", "ended", "2"),
        ("a", "refused", None),
    ]


# Findings


def finding(check: str, ok: bool | None, detail: str = "", hint: str = "") -> dict[str, Any]:
    return {"check": check, "ok": ok, "detail": detail, "hint": hint, "mend": hint}


def one_list(*each: list[dict[str, Any]]) -> list[Any]:
    heard = {str(number): one for number, one in enumerate(each, 1)}
    return findings.merged(Answers(heard, {}), "1")


def test_each_check_is_told_once_the_failures_with_their_workers() -> None:
    merged = one_list(
        [finding("clock", None), finding("disk", True, "9 free"), finding("requests", False, "1 crash", "See the log")],
        [finding("clock", True, "2 s"), finding("disk", True, "8 free"), finding("requests", True)],
        [finding("clock", True, "1 s"), finding("disk", True, "8 free"), finding("requests", False, "x", "Another")],
    )
    assert merged == [
        finding("clock", True, "2 s"),
        finding("disk", True, "9 free"),
        finding("requests", False, "worker 1: 1 crash; worker 3: x", "See the log"),
        finding("workers", True, "3 of 3 answer"),
    ]


def test_a_failure_of_all_is_told_as_of_one() -> None:
    [disk, _] = one_list([finding("disk", False, "9 bytes free")], [finding("disk", False, "8 bytes free")])
    assert disk["detail"] == "9 bytes free"


def test_a_worker_without_webhooks_is_not_broken() -> None:
    """They come to any of them."""
    [webhook, _] = one_list([finding("webhook", False, "none")], [finding("webhook", True, "3 s ago")])
    assert webhook == finding("webhook", True, "3 s ago")
    [webhook, _] = one_list([finding("webhook", False, "none")], [finding("webhook", None, "none yet")])
    assert webhook["ok"] is False
