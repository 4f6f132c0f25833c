"""The log of a stream, read in deliveries: whatever comes of these, all of it is read, once and in order."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from rtmsd.cluster.engine import PAGE, Away
from rtmsd.cluster.records import Log
from rtmsd.demo.cluster.servers import Servers
from tests.cluster.contract import new_id, own
from tests.cluster.nats.conftest import Opener
from tests.cluster.nats.work import member

NUMBER = PAGE + 5
Deliver = Callable[..., Awaitable[int]]


async def nothing(_deliver: Deliver, *_: Any, **_more: Any) -> int:
    raise Away("no consumer can be made")


async def few(deliver: Deliver, *which: Any, most: int, **more: Any) -> int:
    return await deliver(*which, most=min(most, 30), **more)


async def too_late(deliver: Deliver, *which: Any, after: int, **more: Any) -> int:
    return await deliver(*which, after=after + 10_000, **more)


@pytest.mark.parametrize("deliver", [nothing, few, too_late])
async def test_all_is_read_whatever_is_delivered(
    one: Servers, opened: Opener, monkeypatch: pytest.MonkeyPatch, deliver: Deliver
) -> None:
    async with opened(one, "a") as engine:
        stream = new_id()
        token = await engine.owners.claim(own(member("a", engine), stream), seen=0)
        logs = [Log(rtms_stream_id=stream, token=token, n=n, lines={"events": (f"{n}",)}) for n in range(NUMBER)]
        for log in logs:
            await engine.log.append(log)
        monkeypatch.setattr(engine.log._jetstream, "deliver", partial(deliver, engine.log._jetstream.deliver))
        monkeypatch.setattr("rtmsd.cluster.engines.nats.streamlog.DELIVERY_S", 0.2)
        first = await engine.log.read_log(stream)
        rest = await engine.log.read_log(stream, after=first[-1].place)
        assert [placed.record for placed in first] == logs[:PAGE]
        assert [placed.record for placed in rest] == logs[PAGE:]
        assert await engine.log.read_log(stream, after=rest[-1].place) == []
