"""One run of the demo, from an empty directory to the report."""

import errno
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio
from rich.console import Console

from rtmsd.demo.checks import Check, all_checks
from rtmsd.demo.daemon import DaemonProcess, open_admin
from rtmsd.demo.evidence import collect, find_directory
from rtmsd.demo.report import Report, print_report
from rtmsd.demo.scene import Kind, Scene
from rtmsd.demo.speakers import speakers
from rtmsd.demo.stage import CALM, FAST, HOST, Pace, Stage
from rtmsd.demo.story import PEOPLE, Played, Story
from rtmsd.demo.view import has_room, print_lines, show
from rtmsd.demo.watch import fail_at_crash, watch
from rtmsd.demo_extra import missing_extra
from rtmsd.errors import RtmsdError, leaves
from rtmsd.simulator import SimulatorSettings, open_simulator
from rtmsd.simulator.cli.interruption import cancel_at_signal
from rtmsd.terminal import complain

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130  # as a shell has it for Ctrl-C
NEEDED_BYTES: Final = 50 << 20  # it writes some 30 MB
MAX_TEMPORARY_BYTES: Final = 80  # of a directory for the admin socket, whose own path may have 107


class DemoError(RtmsdError):
    """The demo could not be set up."""


def main(*, fast: bool = False, keep: Path | None = None) -> int:
    """Play the demo and return its exit status: 0 only if every check of its report holds.

    Args:
        fast: in compressed time, within 20 s, instead of about three minutes.
        keep: where the files go; None: a new temporary directory, which the report names and nobody removes.

    Raises:
        DemoError: the directory cannot be used.
    """
    if missing := missing_extra("rtmsd demo"):
        complain(missing)
        return EXIT_FAILED
    pace = FAST if fast else CALM
    began_s = time.monotonic()
    with _open_stage(keep) as stage:
        played, troubles = None, []
        try:
            played = trio.run(_run, stage, pace)
        except* BrokenPipeError:  # the output has no reader, and the files' place was not printed
            _discard(stage, keep)
            raise
        except* (RtmsdError, OSError) as group:
            troubles = [str(error) for error in leaves(group)]
    if troubles:
        complain("\n".join(f"rtmsd demo: {text}" for text in troubles))
        return EXIT_FAILED
    if played is None:
        complain("rtmsd demo: stopped before its end")
        _discard(stage, keep)
        return EXIT_INTERRUPTED
    report = examine(stage, played, pace, time.monotonic() - began_s)
    print_report(report)
    return EXIT_OK if report.holds else EXIT_FAILED


@contextmanager
def _open_stage(keep: Path | None) -> Iterator[Stage]:
    """Yield where to play.

    Raises:
        DemoError: it cannot be used.
    """
    try:
        directory = _empty_directory(keep)
        _require_room(directory)
        is_long = len(os.fsencode(tempfile.gettempdir())) > MAX_TEMPORARY_BYTES
        run = tempfile.TemporaryDirectory(prefix="rtmsd-", dir="/tmp" if is_long else None)
    except OSError as error:
        raise DemoError(f"{keep or 'a temporary directory'} cannot be used: {error.strerror}") from error
    with run:
        yield Stage(directory, Path(run.name))


def _empty_directory(keep: Path | None) -> Path:
    """Return an empty directory: the demo would overwrite what is in it, and the report says how to remove it all.

    Raises:
        OSError: it cannot be made, or holds something.
    """
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="rtmsd-demo-"))
    directory = keep.absolute()
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise OSError(errno.ENOTEMPTY, "it is not empty; name a new directory, so that no file of yours is touched")
    return directory


def _require_room(directory: Path) -> None:
    """Raise OSError on a full disk: later the demo would only report incomplete recordings."""
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < NEEDED_BYTES:
        raise OSError(errno.ENOSPC, f"{free_bytes >> 20} MB are free, and the demo needs {NEEDED_BYTES >> 20}")


def _discard(stage: Stage, keep: Path | None) -> None:
    """Remove the files, unless the user named their directory."""
    if keep is None:
        shutil.rmtree(stage.directory, ignore_errors=True)


def examine(stage: Stage, played: Played, pace: Pace, took_s: float) -> Report:
    """Compare the files with the record of what was sent. Unreadable files are a failed check."""
    try:
        evidence = collect(find_directory(stage.recordings, played.session.rtms_stream_id))
    except (OSError, ValueError, KeyError) as error:
        unreadable = Check("the files can be read", False, f"{type(error).__name__}: {error}")
        return Report(stage, pace, took_s, played, None, [], [unreadable])
    heard = speakers(played.session.record, evidence, played.session.crowd.name)
    return Report(stage, pace, took_s, played, evidence, heard, all_checks(played, evidence, heard))


async def _run(stage: Stage, pace: Pace) -> Played | None:
    """Play with signals and a view around it; None: a signal stopped it."""
    played: Played | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(cancel_at_signal, nursery.cancel_scope)
        scene = Scene()
        has_screen = has_room(Console())
        if has_screen:
            await nursery.start(show, scene, pace)
        else:
            print_lines(scene)
        played = await _play(stage, pace, scene, levels=has_screen)
        nursery.cancel_scope.cancel()
    return played


async def _play(stage: Stage, pace: Pace, scene: Scene, *, levels: bool) -> Played:
    with socket.create_server((HOST, 0), backlog=100) as webhook:
        settings = SimulatorSettings(
            webhook_url=f"http://{HOST}:{webhook.getsockname()[1]}/webhook",
            webhook_timeout_s=10,
            tls=True,
            speed=pace.speed,
            timing=pace.timing,
        )
        async with (
            open_simulator(settings) as simulator,
            open_admin(stage.admin_socket) as admin,
            aclosing(DaemonProcess(stage.config, stage.log, admin, webhook)) as daemon,
            trio.open_nursery() as nursery,
        ):
            await trio.Path(stage.ca).write_bytes(simulator.ca_pem)
            stage.write_config(settings, pace)
            await daemon.start()
            nursery.start_soon(fail_at_crash, admin, stage.log)
            scene.log(
                Kind.NOTE, f"The daemon is up (process {daemon.pid}), the simulated Zoom is at {simulator.address}."
            )
            scene.log(Kind.ACT, "A session starts. Zoom posts session.rtms_started; the daemon connects and records.")
            session = await simulator.start_session(PEOPLE)
            scene.age_s = lambda: (session.now_ms - session.started_ms) / 1000
            nursery.start_soon(partial(watch, admin, session.rtms_stream_id, scene, levels=levels))
            played = Played(session, late_ms=pace.late_ms)
            await Story(simulator, daemon, scene, played).play()
            nursery.cancel_scope.cancel()
    return played
