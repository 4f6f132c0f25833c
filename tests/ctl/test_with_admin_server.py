"""rtmsctl and the real admin server, each in its own process or thread."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

import rtmsd
from rtmsd.admin.commands import DeliveryBackend
from rtmsd.admin.listener import open_admin_socket
from rtmsd.admin.messages import AdminError, Code, JsonObject
from rtmsd.admin.server import answer, serve_admin
from rtmsd.ctl.errors import Exit
from rtmsd.ctl.main import main
from rtmsd.errors import ConfigError
from rtmsd.sinks.hub import LiveHub
from rtmsd.streams.core.video.choice import Choice

if TYPE_CHECKING:
    from rtmsd.admin.cluster import ClusterBackend

# Python itself may be where only root can read it, so everything is imported before.
AS_NOBODY = """
import locale, os, shutil, sys
import rtmsd.ctl.client
import rtmsd.ctl.verbs.control
import rtmsd.ctl.verbs.status
from rtmsd.ctl.main import main
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(main())
"""


class Backend:
    """A backend of two streams, which records requests and does nothing."""

    deliveries: DeliveryBackend  # nobody asks for them here

    def __init__(self) -> None:
        self.events = LiveHub()
        self.cluster: ClusterBackend | None = None
        self.draining = False

    def ids(self) -> list[str]:
        return ["abc1", "abd/2"]

    def status(self) -> JsonObject:
        return {"version": rtmsd.__version__, "ready": True, "draining": self.draining}

    def streams(self, *, include_ended: bool) -> Sequence[JsonObject]:
        names = self.ids() if include_ended else self.ids()[:1]
        return [{"rtms_stream_id": name, "started_ms": 0, "state": "active"} for name in names]

    def stream(self, rtms_stream_id: str) -> JsonObject:
        return {"rtms_stream_id": rtms_stream_id, "started_ms": 0}

    def recorder(self, rtms_stream_id: str) -> None:
        return None

    async def stop(self, rtms_stream_id: str) -> None:
        raise AdminError(Code.REFUSED_IN_STATE, f"{rtms_stream_id} has ended")

    async def reconnect(self, rtms_stream_id: str) -> None:
        pass

    def video(self, rtms_stream_id: str) -> JsonObject:
        return {"user_id": None, "chosen_by": "auto", "follow": "manual", "cameras": []}

    async def choose_video(self, rtms_stream_id: str, choice: Choice) -> JsonObject:
        if choice.user_id == 8:
            raise AdminError(Code.NOT_IN_STREAM, "no participant 8 is in this stream")
        if choice.user_id == 9:
            raise AdminError(Code.TIMED_OUT, "no answer of Zoom's")
        if choice.user_id == 10:
            raise AdminError(Code.REFUSED_IN_STATE, "Zoom refused")
        return self.video(rtms_stream_id)

    async def reload(self) -> JsonObject:
        raise ConfigError(["media.types: none", "log.level: loud"])

    def drain(self) -> None:
        self.draining = True

    def undrain(self) -> None:
        self.draining = False

    async def shutdown(self, *, end_streams: bool) -> None:
        pass

    def metrics(self) -> bytes:
        return b"a 1.0\n"

    def config(self) -> JsonObject:
        return {"log": {"level": "info"}}

    async def doctor(self) -> Sequence[JsonObject]:
        return [{"check": "disk", "ok": True, "detail": "", "hint": ""}]

    async def recordings(self) -> Sequence[JsonObject]:
        return []

    async def remove_recording(self, rtms_stream_id: str) -> None:
        raise AdminError(Code.NO_SUCH_RECORDING, "gone")

    async def control_session(self, action: str, fields: dict[str, Any]) -> JsonObject:
        raise AdminError(Code.ZOOM_REFUSED, "2310: no Developer Pack")


@pytest.fixture
def admin() -> Iterator[Path]:
    """The socket of an admin server, in a directory that everybody may enter."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    path = directory / "admin.sock"
    ready = threading.Event()
    scope = trio.CancelScope()
    token: list[trio.lowlevel.TrioToken] = []

    async def serve() -> None:
        with scope, open_admin_socket(path) as listener:
            async with trio.open_nursery() as nursery:
                await nursery.start(serve_admin, [listener], partial(answer, Backend()))
                token.append(trio.lowlevel.current_trio_token())
                ready.set()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert ready.wait(10)
    yield path
    token[0].run_sync_soon(scope.cancel)
    thread.join()
    shutil.rmtree(directory)


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ("status", Exit.OK),
        ("ps -a", Exit.OK),
        ("metrics", Exit.OK),
        ("config show", Exit.OK),
        ("doctor --offline", Exit.OK),
        ("recordings ls", Exit.OK),
        ("drain", Exit.OK),
        ("undrain", Exit.OK),
        ("shutdown", Exit.OK),
        ("inspect abd/", Exit.OK),
        ("reconnect abc1", Exit.OK),
        ("video abc1", Exit.OK),
        ("video abc1 --user 7", Exit.OK),
        ("video abc1 --off", Exit.OK),
        ("video abc1 --auto", Exit.OK),
        ("video abc1 --user 8", Exit.NO_SUCH_STREAM),
        ("video zzz --off", Exit.NO_SUCH_STREAM),
        ("video abc1 --user 9", Exit.TIMED_OUT),
        ("video abc1 --user 10", Exit.REFUSED),
        ("reload", Exit.FAILED),
        ("session start x", Exit.FAILED),
        ("inspect ab", Exit.USAGE),
        ("inspect zzz", Exit.NO_SUCH_STREAM),
        ("recordings rm zzz --yes", Exit.NO_SUCH_STREAM),
        ("stop abc", Exit.REFUSED),
        ("tap abc --media events", Exit.REFUSED),
    ],
)
def test_every_request_is_understood(admin: Path, args: str, code: Exit) -> None:
    assert main(["--socket", str(admin), *args.split()]) == code


def test_mistakes_in_a_reload_are_listed(admin: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--socket", str(admin), "reload"])
    assert capsys.readouterr().err.endswith("\nmedia.types: none\nlog.level: loud\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(
    ("verb", "mode", "code"),
    [
        ("status", 0o666, Exit.OK),
        ("drain", 0o666, Exit.NOT_PERMITTED),
        ("status", 0o660, Exit.NOT_PERMITTED),
    ],
)
def test_another_user_may_only_read(admin: Path, verb: str, mode: int, code: Exit) -> None:
    admin.chmod(mode)
    command = [sys.executable, "-c", AS_NOBODY, "--socket", str(admin), verb]
    child = subprocess.run(command, capture_output=True, check=False)
    assert child.returncode == code, child.stderr
