"""What the servers say of themselves, read whatever is missing in it."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rtmsd.cluster.engines.survey import Replica, Store, Survey, read_store

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def info(*replicas: dict[str, Any], leader: str = "n1", wanted: int = 3) -> dict[str, Any]:
    return {
        "cluster": {"leader": leader, "replicas": list(replicas)},
        "config": {"num_replicas": wanted},
        "state": {"bytes": 10},
    }


GOOD = {"name": "n2", "current": True, "lag": 0}


def test_a_healthy_cluster() -> None:
    found = Survey([read_store(name, info(GOOD, {**GOOD, "name": "n3"})) for name in ("A", "B")])
    assert found.servers == ["n1", "n2", "n3"]
    assert (found.leaders, found.bytes) == ({"n1": 2}, 20)
    assert ([*found.behind()], [*found.short()]) == ([], [])


def test_who_is_behind_offline_or_missing() -> None:
    offline = {"name": "n2", "current": False, "offline": True, "lag": 7}
    found = Survey([read_store("A", info(offline)), read_store("B", info(GOOD, {"name": "n3", "current": False}))])
    assert [(store.name, replica) for store, replica in found.behind()] == [
        ("A", Replica(server="n2", lag=7, is_current=False, is_offline=True)),
        ("B", Replica(server="n3", is_current=False)),
    ]
    assert [store.name for store in found.short()] == ["A"]


def test_a_server_that_is_alone_has_no_leader() -> None:
    assert read_store("A", {"config": {"num_replicas": 1}, "state": {"bytes": 3}}) == Store(name="A", bytes=3)


@given(cluster=JSON, config=JSON, state=JSON)
def test_nothing_that_a_server_says_crashes(cluster: Any, config: Any, state: Any) -> None:
    found = Survey([read_store("A", {"cluster": cluster, "config": config, "state": state})])
    assert found.bytes >= 0
    assert sum(found.leaders.values()) <= 1
    assert {replica.server for _, replica in found.behind()} <= {*found.servers}
    assert len([*found.short()]) <= 1
