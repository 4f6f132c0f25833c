"""What is said of a request that was repeated until its time was over."""

import json
from typing import TYPE_CHECKING, cast

import pytest
import trio

from rtmsd.cluster.engine import Away
from rtmsd.cluster.engines.nats.client import Message
from rtmsd.cluster.engines.nats.jetstream import JetStream

if TYPE_CHECKING:
    from rtmsd.cluster.engines.nats.connection import Connection

BUSY = json.dumps({"error": {"code": 503, "err_code": 10077, "description": "maximum bytes exceeded"}}).encode()


ON_ITS_WAY_S = 0.02


class Refusing:
    """A connection whose server refuses each request, where there is time for its answer."""

    server = "a server"

    async def request(self, subject: str, data: bytes, headers: object, *, timeout_s: float) -> Message:
        await trio.sleep(min(timeout_s, ON_ITS_WAY_S))
        if timeout_s < ON_ITS_WAY_S:
            raise Away(f"no answer within {timeout_s:g} s")
        return Message(subject=subject, data=BUSY, headers={}, reply="")


@pytest.mark.parametrize("answer_s", [0.02, 0.05, 0.075, 0.1, 0.14, 0.145, 0.15, 1.0])
async def test_the_reason_is_not_lost_to_a_last_try_without_time(autojump_clock: object, answer_s: float) -> None:
    with pytest.raises(Away, match="maximum bytes exceeded"):
        await JetStream(cast("Connection", Refusing()), answer_s=answer_s).info("x")
    assert trio.current_time() <= answer_s
