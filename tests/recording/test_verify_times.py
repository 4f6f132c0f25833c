"""Times in a manifest that no stream can be of."""

import pytest

from rtmsd.protocol.messages import Participant
from rtmsd.recording.verify.verify import verify
from tests.recording.conftest import STARTED_MS, Studio


@pytest.mark.parametrize("joined_ms", [0, STARTED_MS // 1000, STARTED_MS * 1000])
async def test_verify_refuses_an_absurd_time(studio: Studio, joined_ms: int) -> None:
    recorder = await studio.open()
    recorder.participants_joined([Participant(user_id=1)], joined_ms)
    recorder.ended(6, STARTED_MS + 1000)
    await recorder.finish()
    assert [problem.kind for problem in verify(recorder.directory)] == ["time"]
