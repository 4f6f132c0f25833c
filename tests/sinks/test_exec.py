"""The sink of kind "exec" with real programs: what they get, what their end means, and that nothing of them is left."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from rtmsd.config import ExecConfig
from rtmsd.sinks.base import Recording, Refused, TryAgain, Unusable
from rtmsd.sinks.exec import OUTPUT_BYTES, READ_BYTES, ExecSink, keep_tail
from rtmsd.sinks.registry import build, inheritable
from rtmsd.state.deliveries import DeliveryEvent

LIMIT_S = 60.0
WAIT = "exec tail -f /dev/null"  # until it is killed
ENVIRONMENT = {"PATH": os.environ["PATH"], "LANG": "C"}


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    (tmp_path / "stream.json").write_text('{"state": "ended"}')
    return Recording(event=DeliveryEvent.FINISHED, rtms_stream_id="stream-1", directory=tmp_path)


def sink(*command: str, timeout_s: float = LIMIT_S) -> ExecSink:
    return ExecSink(ExecConfig(name="after", kind="exec", command=command, timeout_s=timeout_s), ENVIRONMENT)


def shell(script: str, timeout_s: float = LIMIT_S) -> ExecSink:
    return sink("/bin/sh", "-c", script, timeout_s=timeout_s)


@asynccontextmanager
async def fifo(directory: Path) -> AsyncIterator[trio.lowlevel.FdStream]:
    """A pipe named "fifo": what programs write there says where they are, and its end that none of them is left."""
    path = directory / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with trio.fail_after(LIMIT_S):
        async with trio.lowlevel.FdStream(reader) as stream:
            yield stream


async def said(stream: trio.lowlevel.FdStream, number: int) -> list[bytes]:
    """Wait for so many lines."""
    text = b""
    while text.count(b"\n") < number:
        text += await stream.receive_some()
        if not text:  # nobody has opened the other end yet
            await trio.lowlevel.checkpoint()
    return text.splitlines()


async def test_a_program_gets_the_manifest_the_event_and_no_credentials(
    recording: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "CREDENTIALS_DIRECTORY": "/run/credentials",
        "NOTIFY_SOCKET": "/run/notify",
        "LISTEN_FDS": "1",
        "WATCHDOG_USEC": "1",
        "SECRET": "sesame\n",
        "ALSO_SECRET": "Bearer long-enough",
        "KEPT": "kept",
    }.items():
        monkeypatch.setenv(name, value)
    script = (
        "import json, os, sys; print('unread'); "
        "json.dump({'env': dict(os.environ), 'cwd': os.getcwd(), 'manifest': sys.stdin.read(), "
        "'fds': sorted(map(int, os.listdir('/proc/self/fd')))[:-1], 'sid': os.getsid(0) == os.getpid()}, "
        f"open({str(tmp_path / 'seen')!r}, 'w'))"
    )
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    config = ExecConfig(name="after", kind="exec", command=(sys.executable, "-c", script))
    try:
        await build([config], {"sesame", "long-enough"})["after"].deliver(recording)
    finally:
        os.close(inherited)
    seen = json.loads((tmp_path / "seen").read_text())
    env = seen["env"]
    assert (env["RTMSD_DIRECTORY"], env["RTMSD_STREAM_ID"], env["RTMSD_EVENT"]) == (
        str(tmp_path),
        "stream-1",
        "finished",
    )
    assert env["KEPT"] == "kept"
    gone = {"CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC", "SECRET", "ALSO_SECRET"}
    assert not gone & env.keys()
    assert seen["manifest"] == '{"state": "ended"}'
    assert (seen["cwd"], seen["fds"], seen["sid"]) == ("/", [0, 1, 2], True)


def test_a_short_secret_hides_only_what_is_equal_to_it() -> None:
    assert inheritable({"A": "abc", "B": "ab"}, {"ab"}) == {"A": "abc"}


async def test_an_id_that_no_variable_can_hold_is_escaped(recording: Recording) -> None:
    odd = attrs.evolve(recording, rtms_stream_id="a\0b\udc80\udbff é")
    with pytest.raises(Refused) as caught:
        await shell('echo "$RTMSD_STREAM_ID" >&2; exit 1').deliver(odd)
    assert caught.value.output == "a\\x00b\\udc80\\udbff é\n"


async def test_a_manifest_that_is_not_read_is_no_failure(recording: Recording) -> None:
    (recording.directory / "stream.json").write_bytes(b" " * 1_000_000)  # more than a pipe holds
    await shell("exec 0<&-; exit 0").deliver(recording)


@pytest.mark.parametrize(
    ("script", "error", "why"),
    [
        ("echo busy >&2; exit 75", TryAgain, "exit status 75"),
        ("echo busy >&2; kill -SEGV $$", TryAgain, "killed by SIGSEGV"),
        ("echo busy >&2; exit 1", Refused, "exit status 1"),
        ("echo busy >&2; exit 137", Refused, "exit status 137"),
    ],
)
async def test_what_an_end_means(recording: Recording, script: str, error: type[Exception], why: str) -> None:
    with pytest.raises((TryAgain, Refused)) as caught:
        await shell(script).deliver(recording)
    assert (type(caught.value), str(caught.value), caught.value.output) == (error, why, "busy\n")


async def test_the_end_of_what_it_says_is_kept(recording: Recording) -> None:
    script = f"head -c 200000 /dev/zero | tr '\\0' x >&2; printf '\\377 token: {'a' * 64}' >&2; exit 3"
    with pytest.raises(Refused) as caught:
        await shell(script).deliver(recording)
    output = caught.value.output
    assert len(output) <= OUTPUT_BYTES
    assert output.endswith("x\N{REPLACEMENT CHARACTER} token: ***")


async def test_a_flood_is_read_slowly(autojump_clock: MockClock) -> None:
    class Flood(trio.abc.ReceiveStream):
        left = 100

        async def aclose(self) -> None: ...

        async def receive_some(self, max_bytes: int | None = None) -> bytearray:
            await trio.lowlevel.checkpoint()
            self.left -= 1
            return bytearray(max(0, min(1, self.left)) * READ_BYTES)

    tail = bytearray()
    await keep_tail(Flood(), tail)
    assert len(tail) == OUTPUT_BYTES
    assert 1.5 < trio.current_time() < 10


async def test_a_time_out_kills_the_whole_group(recording: Recording, tmp_path: Path, mock_clock: MockClock) -> None:
    script = f"cat >/dev/null; exec 3>{tmp_path / 'fifo'}; echo parent >&3; (echo child >&3; {WAIT}) & {WAIT}"
    async with fifo(tmp_path) as stream, trio.open_nursery() as nursery:

        async def time_out() -> None:
            with pytest.raises(TryAgain, match="not done after 20 s"):
                await shell(script, timeout_s=20).deliver(recording)

        nursery.start_soon(time_out)
        assert sorted(await said(stream, 2)) == [b"child", b"parent"]  # fed by now, and so under the limit
        mock_clock.jump(20)
        assert await stream.receive_some() == b""  # nobody holds it open any more


async def test_what_a_program_leaves_behind_is_killed(recording: Recording, tmp_path: Path) -> None:
    async with fifo(tmp_path) as stream:
        await shell(f"exec 3>{tmp_path / 'fifo'}; (echo child >&3; {WAIT}) & exit 0").deliver(recording)
        while await stream.receive_some():
            pass


async def test_a_cancellation_leaves_nothing_running(recording: Recording, tmp_path: Path) -> None:
    script = f"exec 3>{tmp_path / 'fifo'}; trap '' TERM INT; echo $$ >&3; {WAIT}"
    async with fifo(tmp_path) as stream, trio.open_nursery() as programs:
        programs.start_soon(shell(script).deliver, recording)
        (pid,) = await said(stream, 1)
        programs.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), signal.SIGCONT)


@pytest.mark.parametrize("name", ["missing", "plain"])
async def test_a_program_that_cannot_be_run_is_tried_again(recording: Recording, tmp_path: Path, name: str) -> None:
    (tmp_path / "plain").write_text("no program")
    missing = sink(str(tmp_path / name))
    assert missing.config.unusable() is not None
    with pytest.raises(Unusable, match=name):
        await missing.deliver(recording)
    assert issubclass(Unusable, TryAgain)


async def test_a_recording_that_was_removed_is_refused(recording: Recording, tmp_path: Path) -> None:
    (tmp_path / "stream.json").unlink()
    with pytest.raises(Refused, match="removed"):
        await shell("exit 0").deliver(recording)


@pytest.mark.parametrize("manifest", ['{"state": "revoked", "id": "s"}', '{"state": "active"}', "[]", "{", None])
def test_a_revocation_has_the_receipt_and_nothing_else(tmp_path: Path, manifest: str | None) -> None:
    if manifest is not None:
        (tmp_path / "stream.json").write_text(manifest)
    revoked = Recording(event=DeliveryEvent.REVOKED, rtms_stream_id="stream-1", directory=tmp_path)
    receipt: dict[str, Any] = json.loads(revoked.manifest())
    assert receipt["state"] == "revoked"
    assert ("id" in receipt) == (manifest is not None and '"id"' in manifest)
