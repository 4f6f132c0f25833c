"""The contract of the engines, on one server and on three."""

import pytest

from rtmsd.demo.cluster.servers import Servers
from tests.cluster.contract import BeatsContract, BusContract, Join, OwnerStoreContract, StreamLogContract
from tests.cluster.nats.conftest import Meeting, Opener


@pytest.fixture(scope="module", params=["one", "three"])
def servers(request: pytest.FixtureRequest) -> Servers:
    servers: Servers = request.getfixturevalue(request.param)
    return servers


@pytest.fixture
def join(servers: Servers, opened: Opener) -> Join:
    return Meeting(servers, opened).join


class TestOwnerStore(OwnerStoreContract):
    pass


class TestBus(BusContract):
    pass


class TestStreamLog(StreamLogContract):
    pass


class TestBeats(BeatsContract):
    pass
