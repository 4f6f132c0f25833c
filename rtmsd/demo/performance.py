"""One run of the demo, from an empty directory to the report."""

import errno
import os
import shutil
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

import attrs
import trio
from rich.console import Console
from rich.text import Text

from rtmsd.demo.checks import all_checks, unreadable
from rtmsd.demo.daemon import Admin, DaemonProcess, open_admin
from rtmsd.demo.evidence import collect, find_directory
from rtmsd.demo.report import SessionReport, print_report
from rtmsd.demo.scene import Kind, Scene
from rtmsd.demo.speakers import speakers
from rtmsd.demo.stage import CALM, FAST, HOST, Pace, Stage
from rtmsd.demo.story import PEOPLE, Played, Story
from rtmsd.demo.view import has_room, print_lines, show
from rtmsd.demo.watch import fail_at_crash, watch
from rtmsd.demo_extra import missing_extra
from rtmsd.errors import RtmsdError, leaves
from rtmsd.simulator import Simulator, SimulatorSettings, open_simulator
from rtmsd.simulator.cli.interruption import cancel_at_signal
from rtmsd.terminal import complain

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_INTERRUPTED: Final = 130  # as a shell has it for Ctrl-C
NEEDED_BYTES: Final = 50 << 20  # it writes some 30 MB
MAX_TEMPORARY_BYTES: Final = 70  # of a directory for the admin socket and those of workers: their paths may have 107

T = TypeVar("T")


class DemoError(RtmsdError):
    """The demo could not be set up."""


class Report(Protocol):
    """What came of a play."""

    @property
    def holds(self) -> bool:
        """Whether every check does."""

    def lines(self) -> Iterator[Text]:
        """Return it for a terminal."""


class Play(Protocol[T]):
    """One kind of demo."""

    @property
    def pace(self) -> Pace:
        """Of its sessions."""

    async def perform(self, stage: Stage, scene: Scene, *, has_screen: bool) -> T:
        """Play it, and return what is to be examined.

        Raises:
            RtmsdError, OSError: it could not be played.
        """

    def examine(self, stage: Stage, played: T, took_s: float) -> Report:
        """Compare the files with the record of what was sent. Unreadable files are a failed check."""


def main(*, fast: bool = False, keep: Path | None = None) -> int:
    """Play the session of one daemon. See `present`.

    Args:
        fast: in compressed time, within 20 s, instead of about three minutes.
    """
    return present(Session(FAST if fast else CALM), keep)


def present(play: Play[T], keep: Path | None = None) -> int:
    """Play a demo and return its exit status: 0 only if every check of its report holds.

    Args:
        keep: where the files go; None: a new temporary directory, which the report names and nobody removes.

    Raises:
        DemoError: the directory cannot be used.
    """
    if missing := missing_extra("rtmsd demo"):
        complain(missing)
        return EXIT_FAILED
    began_s = time.monotonic()
    with _open_stage(keep) as stage:
        played, troubles = None, []
        try:
            played = trio.run(_run, stage, play)
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
    report = play.examine(stage, played, time.monotonic() - began_s)
    print_report(report.lines())
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


async def _run(stage: Stage, play: Play[T]) -> T | None:
    """Play with signals and a view around it; None: a signal stopped it."""
    played: T | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(cancel_at_signal, nursery.cancel_scope)
        scene = Scene()
        has_screen = has_room(Console())
        if has_screen:
            await nursery.start(show, scene, play.pace)
        else:
            print_lines(scene)
        played = await play.perform(stage, scene, has_screen=has_screen)
        nursery.cancel_scope.cancel()
    return played


@attrs.frozen
class Cast:
    """Who plays: a simulated Zoom and a daemon, which is up, and its admin socket."""

    simulator: Simulator
    daemon: DaemonProcess
    admin: Admin


@asynccontextmanager
async def open_cast(
    stage: Stage,
    pace: Pace,
    settings: SimulatorSettings,
    scene: Scene,
    *,
    sections: str = "",
    workers: int = 1,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> AsyncIterator[Cast]:
    """Yield the cast of a play; at the exit nothing is left of it.

    Args:
        settings: of the simulator; where it is, and where webhooks go, is added.
        sections: of the daemon's configuration, beside those that each demo has.
        workers, environment: see `DaemonProcess`.

    Raises:
        DaemonError: the daemon did not start.
    """
    with socket.create_server((HOST, 0), backlog=100) as webhook:
        settings = at_pace(settings, pace, f"http://{HOST}:{webhook.getsockname()[1]}/webhook")
        async with (
            open_simulator(attrs.evolve(settings, webhook_timeout_s=10)) as simulator,
            open_admin(stage.admin_socket) as admin,
            aclosing(
                DaemonProcess(stage.config, stage.log, admin, webhook, workers=workers, environment=environment)
            ) as daemon,
            trio.open_nursery() as nursery,
        ):
            await trio.Path(stage.ca).write_bytes(simulator.ca_pem)
            stage.write_config(settings, pace, sections)
            await daemon.start()
            nursery.start_soon(fail_at_crash, admin, stage.log)
            scene.log(
                Kind.NOTE, f"The daemon is up (process {daemon.pid}), the simulated Zoom is at {simulator.address}."
            )
            yield Cast(simulator, daemon, admin)
            nursery.cancel_scope.cancel()


def at_pace(settings: SimulatorSettings, pace: Pace, *webhook_urls: str) -> SimulatorSettings:
    """Return the settings of a simulator for a demo."""
    return attrs.evolve(settings, webhook_url=webhook_urls, tls=True, speed=pace.speed, timing=pace.timing)


@attrs.frozen
class Session:
    """The play of one daemon and one session. See `Play`."""

    pace: Pace

    async def perform(self, stage: Stage, scene: Scene, *, has_screen: bool) -> Played:
        async with open_cast(stage, self.pace, SimulatorSettings(), scene) as cast, trio.open_nursery() as nursery:
            scene.log(Kind.ACT, "A session starts. Zoom posts session.rtms_started; the daemon connects and records.")
            session = await cast.simulator.start_session(PEOPLE)
            scene.age_s = lambda: (session.now_ms - session.started_ms) / 1000
            nursery.start_soon(partial(watch, cast.admin, session.rtms_stream_id, scene, levels=has_screen))
            played = Played(session, late_ms=self.pace.late_ms)
            await Story(cast.simulator, cast.daemon, scene, played).play()
            nursery.cancel_scope.cancel()
        return played

    def examine(self, stage: Stage, played: Played, took_s: float) -> SessionReport:
        try:
            evidence = collect(find_directory(stage.recordings, played.session.rtms_stream_id))
        except (OSError, ValueError, KeyError) as error:
            return SessionReport(stage, self.pace, took_s, played, None, [], [unreadable(error)])
        heard = speakers(played.session.record, evidence, played.session.crowd.name)
        return SessionReport(stage, self.pace, took_s, played, evidence, heard, all_checks(played, evidence, heard))
