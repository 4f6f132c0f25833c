"""A daemon that answers webhooks with 500 ends the demo at once, with the reason."""

import json
from pathlib import Path
from typing import Any, cast

import pytest

from rtmsd.demo.daemon import Admin, DaemonError
from rtmsd.demo.watch import fail_at_crash, last_error

TRACEBACK = (
    "Traceback (most recent call last):\n  File ...\nAttributeError: 'TrioBody' object has no attribute 'append'"
)
LOG = "\n".join(
    [
        json.dumps({"level": "error", "event": "older"}),
        json.dumps({"level": "error", "event": "request crashed", "exception": TRACEBACK}),
        json.dumps({"level": "info", "event": "later"}),
        "no JSON",
    ]
)
WORDS = "request crashed: AttributeError: 'TrioBody' object has no attribute 'append'"


class Status:
    def __init__(self, *results: dict[str, int]) -> None:
        self.left = list(results)

    async def get(self, _path: str) -> dict[str, Any]:
        return {"webhook": {"results": self.left.pop(0)}}


def test_the_last_error_of_a_log() -> None:
    assert last_error(LOG) == WORDS
    assert last_error("") == ""


async def test_a_crash_ends_the_demo(tmp_path: Path, autojump_clock: object) -> None:
    log = tmp_path / "daemon.log"
    log.write_text(LOG)
    with pytest.raises(DaemonError, match="answered a webhook with 500") as raised:
        await fail_at_crash(cast("Admin", Status({}, {"accepted": 1}, {"crashed": 1})), log)
    assert WORDS in str(raised.value)
