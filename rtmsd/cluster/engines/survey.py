"""The state of the servers behind an engine: who leads, who is behind, and how much is kept. Pure.

Source: NATS documentation, "JetStream wire API reference", the answer to STREAM.INFO.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Replica:
    """A copy that is not its stream's leader.

    Attributes:
        lag: writes that it does not have yet.
        is_current: it has all, and was heard lately.
    """

    server: str
    lag: int = 0
    is_current: bool = True
    is_offline: bool = False


@attrs.frozen(kw_only=True)
class Store:
    """One of JetStream's streams. A server that is alone has no leader to name, and no replicas.

    Attributes:
        wanted: copies that there should be.
    """

    name: str
    leader: str | None = None
    replicas: Sequence[Replica] = ()
    wanted: int = 1
    bytes: int = 0


@attrs.frozen
class Survey:
    """What was found.

    Attributes:
        silent: streams about which nobody answered: they have no leader, perhaps.
    """

    stores: Sequence[Store] = ()
    silent: Sequence[str] = ()

    @property
    def servers(self) -> list[str]:
        names = {replica.server for store in self.stores for replica in store.replicas}
        return sorted(names | {store.leader for store in self.stores if store.leader is not None})

    @property
    def leaders(self) -> Mapping[str, int]:
        """How many streams each server leads."""
        return Counter(sorted(store.leader for store in self.stores if store.leader is not None))

    @property
    def bytes(self) -> int:
        """Kept, each copy counted once."""
        return sum(store.bytes for store in self.stores)

    def behind(self) -> Iterator[tuple[Store, Replica]]:
        for store in self.stores:
            yield from ((store, replica) for replica in store.replicas if not replica.is_current or replica.is_offline)

    def short(self) -> Iterator[Store]:
        """Yield the streams with fewer copies than they should have."""
        return (store for store in self.stores if store.wanted > 1 and len(store.replicas) + 1 < store.wanted)


def read_store(name: str, info: Mapping[str, Any]) -> Store:
    """Read an answer, whatever is missing in it."""
    group = _object(info.get("cluster"))
    leader, listed = group.get("leader"), group.get("replicas")
    replicas = [_object(each) for each in (listed if isinstance(listed, list) else ())]
    return Store(
        name=name,
        leader=leader if isinstance(leader, str) and leader else None,
        replicas=tuple(
            Replica(
                server=str(each.get("name", "?")),
                lag=_whole(each.get("lag")),
                is_current=each.get("current") is True,
                is_offline=each.get("offline") is True,
            )
            for each in replicas
        ),
        wanted=_whole(_object(info.get("config")).get("num_replicas")) or 1,
        bytes=_whole(_object(info.get("state")).get("bytes")),
    )


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0
