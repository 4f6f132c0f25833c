"""rtmsctl and the admin servers of two workers, and a third that has died."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from rtmsd.ctl.errors import Exit
from rtmsd.ctl.main import main
from tests.admin.fleet.crew import Backend, live, workers
from tests.admin.fleet.test_one_answer import a_status
from tests.ctl.test_output import STREAM

LONG_S = 60.0


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Path]:
    """The admin socket, at the first of them."""
    backends = [
        Backend({**STREAM, **live(name)}, **a_status(streams={"active": 1}, version=None)) for name in ("abc1", "abd2")
    ]
    ready = threading.Event()
    scope = trio.CancelScope()
    token: list[trio.lowlevel.TrioToken] = []

    async def run() -> None:
        with scope:
            async with workers(tmp_path, *backends, silent=["3"], ask_s=LONG_S):
                token.append(trio.lowlevel.current_trio_token())
                ready.set()
                await trio.sleep_forever()

    thread = threading.Thread(target=trio.run, args=(run,))
    thread.start()
    assert ready.wait(LONG_S)
    yield tmp_path / "a1"
    token[0].run_sync_soon(scope.cancel)
    thread.join()


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ("status", Exit.OK),
        ("ps", Exit.OK),
        ("ps -a", Exit.OK),
        ("top", Exit.OK),
        ("metrics", Exit.OK),
        ("--json metrics", Exit.OK),
        ("doctor --offline", Exit.FAILED),  # for the worker that does not answer
        ("config show", Exit.OK),
        ("drain", Exit.OK),
        ("reload", Exit.OK),
        ("inspect abd", Exit.OK),
        ("stop abd2", Exit.OK),
        ("stop abd", Exit.TIMED_OUT),  # another that begins so may be there
        ("inspect zzz", Exit.TIMED_OUT),
        ("inspect ab", Exit.USAGE),
        ("video abd2 --user 7", Exit.OK),
        ("tap abd2 --media events", Exit.REFUSED),
        ("tap abd2 --media smell", Exit.USAGE),
    ],
)
def test_each_verb_works_with_workers(door: Path, args: str, code: Exit) -> None:
    assert main(["--timeout", str(LONG_S), "--socket", str(door), *args.split()]) == code


def test_what_people_see_without_a_worker(door: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--socket", str(door), "status"])
    shown = capsys.readouterr().out
    assert "degraded: worker 3 does not answer: nobody listens" in shown
    assert "streams\t2 active\n" in shown
    main(["--json", "--socket", str(door), "ps"])
    shown, warned = capsys.readouterr()
    assert {each["rtms_stream_id"]: each["worker"] for each in json.loads(shown)} == {"abc1": "1", "abd2": "2"}
    assert "without worker 3, which does not answer" in warned
    main(["--socket", str(door), "drain"])
    assert "worker 3 has not done it yet: nobody listens" in capsys.readouterr().err
