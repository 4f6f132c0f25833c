"""The sink of kind "exec": a program that is run for each finished recording.

The program is the leader of a session of its own, in "/", with the manifest as its standard input, and inherits
nothing but its three standard streams and an environment without credentials. Status 0 is success. Status 75
(EX_TEMPFAIL), death by a signal and a time-out are tried again; any other status is refused. Whatever the end, what is
left of its process group is killed: nothing of one run goes on beside the next, unless the daemon was killed alone.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from functools import partial
from typing import Final

import structlog
import trio

from rtmsd.config.sinks import ExecConfig
from rtmsd.masking import masked
from rtmsd.sinks.base import Recording, Refused, TryAgain, Unusable

log = structlog.get_logger()

EX_TEMPFAIL: Final = 75
OUTPUT_BYTES: Final = 4096
DRAIN_S: Final = 1.0  # for what a process that left the group still holds open
REAP_S: Final = 5.0  # SIGKILL is quick, unless the kernel itself waits for a disk
READ_BYTES: Final = 65536
READ_EVERY_S: Final = 0.02  # a program that floods must not keep the event loop busy
THREADS: Final = trio.CapacityLimiter(8)  # of our own: a disk that hangs keeps all it gets


class ExecSink:
    """See the module.

    Args:
        environment: what programs inherit.
        niceness: of programs, 19 for the least that the scheduler, and the disk's, can give.
    """

    def __init__(self, config: ExecConfig, environment: Mapping[str, str], niceness: int = 0) -> None:
        self._config = config
        self._environment = environment
        self._niceness = niceness

    @property
    def config(self) -> ExecConfig:
        return self._config

    async def deliver(self, recording: Recording) -> None:
        manifest = await trio.to_thread.run_sync(recording.manifest, limiter=THREADS)
        process = await self._start(recording)
        tail = bytearray()
        try:
            with trio.move_on_after(self._config.timeout_s):
                await _attend(process, manifest, tail)
            status = process.returncode
        finally:
            await _end(process)
        self._judge(status, masked(tail.decode(errors="replace")))

    async def _start(self, recording: Recording) -> trio.Process:
        start = partial(
            trio.lowlevel.open_process,
            self._config.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            start_new_session=True,
            env={
                **self._environment,
                "RTMSD_DIRECTORY": str(recording.directory),
                "RTMSD_STREAM_ID": _for_environment(recording.rtms_stream_id),
                "RTMSD_EVENT": recording.event.value,
            },
        )
        try:
            process = await start()
        except OSError as error:
            raise Unusable(f"{self._config.command[0]}: {error.strerror or error}") from error
        if self._niceness:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, self._niceness)
        return process

    def _judge(self, status: int | None, output: str) -> None:
        """Raise what a status means; None: the time was over."""
        if status is None:
            raise TryAgain(f"not done after {self._config.timeout_s:g} s", output)
        if status < 0:
            raise TryAgain(f"killed by {_signal_name(-status)}", output)
        if status == EX_TEMPFAIL:
            raise TryAgain(f"exit status {status}", output)
        if status != 0:
            raise Refused(f"exit status {status}", output)


async def _attend(process: trio.Process, manifest: bytes, tail: bytearray) -> None:
    """Wait for a process, while it is fed the manifest and the tail of its stderr is kept."""
    assert process.stderr is not None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_feed, process, manifest)
        nursery.start_soon(keep_tail, process.stderr, tail)
        await process.wait()
        _kill_group(process)
        nursery.cancel_scope.deadline = trio.current_time() + DRAIN_S


async def _feed(process: trio.Process, manifest: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(trio.BrokenResourceError):  # it need not read
        await process.stdin.send_all(manifest)
    await process.stdin.aclose()


async def keep_tail(stderr: trio.abc.ReceiveStream, tail: bytearray) -> None:
    """Read to the end, no faster than 3 MB/s."""
    while data := await stderr.receive_some(READ_BYTES):
        tail += data
        del tail[:-OUTPUT_BYTES]
        await trio.sleep(READ_EVERY_S)


async def _end(process: trio.Process) -> None:
    """Kill its group, reap it and close its pipes."""
    _kill_group(process)
    with trio.move_on_after(REAP_S, shield=True):
        await process.wait()
    if process.returncode is None:
        log.error("program does not die", pid=process.pid)
    for pipe in (process.stdin, process.stderr):
        if pipe is not None:
            with trio.CancelScope(shield=True):
                await pipe.aclose()


def _kill_group(process: trio.Process) -> None:
    """Kill the process, and all that it started and that stayed in its session's first group.

    The number of a group is not given to others while anybody is in it, also when its leader is reaped.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nobody left; set-uid programs
        os.killpg(process.pid, signal.SIGKILL)


def _for_environment(text: str) -> str:
    """Escape what a variable cannot hold: an id is what somebody sent."""
    return text.encode(errors="backslashreplace").replace(b"\0", b"\\x00").decode()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
