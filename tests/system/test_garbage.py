"""Messages that cannot be read: refused, counted by kind, and no flood in the log."""

import pytest
import structlog
import trio
from trio.testing import MockClock

from rtmsd.errors import RtmsdError
from rtmsd.system.garbage import Garbage


def decode(data: bytes) -> str:
    if data == b"bad":
        raise RtmsdError("it is bad")
    return data.decode()


async def test_it_is_counted_by_kind_and_logged_now_and_then(autojump_clock: MockClock) -> None:
    garbage = Garbage()
    read_one, read_other = garbage.reader("one", decode), garbage.reader("other", decode)
    assert garbage.counts == {"one": 0, "other": 0}
    with structlog.testing.capture_logs() as logs:
        assert read_one(b"good") == "good"
        for _ in range(100):
            with pytest.raises(RtmsdError, match="it is bad"):
                read_one(b"bad")
        await trio.sleep(10)
        with pytest.raises(RtmsdError):
            read_other(b"bad")
    assert garbage.counts == {"one": 100, "other": 1}
    assert [(line["kind"], line["why"], line["more_since_last"]) for line in logs] == [
        ("one", "it is bad", 0),
        ("other", "it is bad", 99),
    ]


def test_a_bug_is_not_garbage() -> None:
    garbage = Garbage()

    def crash(data: bytes) -> str:
        raise ValueError(data)

    with pytest.raises(ValueError, match="x"):
        garbage.reader("one", crash)(b"x")
    assert garbage.counts == {"one": 0}
