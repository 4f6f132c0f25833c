"""The command line of `rtmsd`. Each command imports its own modules, so that `--help` is quick."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeAlias

from rtmsd import __version__
from rtmsd.command_line import HelpfulParser
from rtmsd.errors import ConfigError, RtmsdError, leaves
from rtmsd.terminal import complain, error_text, prepare_streams, printable, settle_stderr, silence_stdout

if TYPE_CHECKING:
    from rtmsd.config import Config

SHELLS: Final = ("bash", "zsh", "tcsh", "fish")
HERE: Final = "a directory, port or socket that this user cannot use is an error, not a warning"
MAX_DEMO_WORKERS: Final = 8  # each is a process with three streams
EPILOG: Final = "exit status: 0 done, or stopped cleanly; 1 failed; 2 usage; 78 bad configuration, nothing was started"

Run: TypeAlias = Callable[[argparse.Namespace], int]


class Exit(IntEnum):
    """Exit status of rtmsd, stable for scripts and `RestartPreventExitStatus=`; argparse exits with 2 for usage."""

    OK = 0
    FAILED = 1
    BAD_CONFIG = 78  # EX_CONFIG of sysexits.h


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    status: int = Exit.OK
    prepare_streams()
    try:
        try:
            status = _command(list(sys.argv[1:] if argv is None else argv))
        finally:
            print(end="", flush=True)  # now, while a failure can still be handled
    except* BrokenPipeError:  # the reader of the output has closed it (`| head`): no failure; tasks raise it in groups
        silence_stdout()
    except* OSError as group:  # the output (a full disk), or a file
        silence_stdout()
        complain("\n".join(f"rtmsd: {error_text(error)}" for error in leaves(group) if isinstance(error, OSError)))
        status = Exit.FAILED
    finally:
        settle_stderr()
    return status


def _command(arguments: list[str]) -> int:
    if arguments[:1] == ["simulate"]:  # the simulator parses its options, `--help` too
        return _simulate(arguments[1:])
    if arguments[:1] == ["worker"]:
        return _worker(arguments[1:])
    args = build_parser().parse_args(arguments)
    run: Run = args.run
    try:
        return run(args)
    except ConfigError as error:
        complain("\n".join(error.mistakes))
        return Exit.BAD_CONFIG
    except RtmsdError as error:
        complain(f"rtmsd: {error}")
        return Exit.FAILED


def build_parser(complete: Mapping[str, object] = MappingProxyType({})) -> argparse.ArgumentParser:
    """Return the parser of all commands; `complete` is how shtab completes arguments shown as FILE and DIR."""
    parser = HelpfulParser(
        prog="rtmsd", description="Take in Zoom Realtime Media Streams.", epilog=EPILOG, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"rtmsd {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, title="commands")

    def command(name: str, run: Run, summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary, description=summary, epilog=EPILOG, allow_abbrev=False)
        added.set_defaults(run=run)
        return added

    def path(added: argparse.ArgumentParser, option: str, metavar: str, summary: str, *, required: bool) -> None:
        action = added.add_argument(option, metavar=metavar, type=Path, required=required, help=summary)
        vars(action)["complete"] = complete.get(metavar)

    daemon = command("run", _run, "run the daemon in the foreground, with its log on the standard error output")
    path(daemon, "--config", "FILE", "the configuration", required=True)
    daemon.add_argument(
        "--end-streams",
        action="store_true",
        help="when stopped, end all streams instead of leaving them for the next start",
    )
    check = command("check", _check, "check a configuration without starting anything, and name every mistake in it")
    path(check, "--config", "FILE", "the configuration", required=True)
    check.add_argument("--here", action="store_true", help=HERE)
    check.add_argument("--json", action="store_true", help="print the result as JSON")
    demo = command("demo", _demo, "play a session between a simulated Zoom and the daemon; needs no account")
    kinds = demo.add_mutually_exclusive_group()
    kinds.add_argument("--fast", action="store_true", help="the same within 20 seconds")
    kinds.add_argument(
        "--workers",
        metavar="N",
        nargs="?",
        type=_workers,
        const=2,
        help="another one, within 40 seconds: the daemon has N processes (2), one of which is killed and one hangs",
    )
    kinds.add_argument(
        "--cluster",
        action="store_true",
        help="another one, within two minutes: three daemons on three NATS servers, of which some die or freeze",
    )
    path(demo, "--keep", "DIR", "keep the recordings there", required=False)
    command("simulate", lambda _args: _simulate([]), "the simulated Zoom alone, see `rtmsd simulate --help`")
    completion = command("completion", _completion, "print the completion script for a shell")
    completion.add_argument("shell", choices=SHELLS)
    return parser


def _workers(text: str) -> int:
    """Return a number of workers for the demo."""
    if text not in map(str, range(2, MAX_DEMO_WORKERS + 1)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 2 to {MAX_DEMO_WORKERS}")
    return int(text)


def _run(args: argparse.Namespace) -> int:
    from rtmsd import daemon  # noqa: PLC0415 - not at every start
    from rtmsd.config import load  # noqa: PLC0415

    config = load(args.config)
    if config.daemon.processes > 1:
        from rtmsd import workers  # noqa: PLC0415

        return workers.run(args.config, config, end_streams=args.end_streams)
    if config.cluster is not None:
        from rtmsd import node  # noqa: PLC0415

        return node.run(args.config, config, end_streams=args.end_streams)
    return daemon.run(args.config, config, end_streams=args.end_streams)


def _worker(arguments: list[str]) -> int:
    """Run a process that `rtmsd run` started: in no help, as nobody else can. Its number is for lists of processes."""
    from rtmsd import workers  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="rtmsd worker")
    parser.add_argument("number")
    parser.add_argument("channel", type=int, help="descriptor of a socket to the parent")
    return workers.run_worker(parser.parse_args(arguments).channel)


def _check(args: argparse.Namespace) -> int:
    from rtmsd.config import load, unusable  # noqa: PLC0415 - not at every start

    try:
        config = load(args.config)
    except ConfigError as error:
        return _refuse(error.mistakes, as_json=args.json)
    troubles = unusable(config)
    if troubles and args.here:
        return _refuse(troubles, as_json=args.json)
    warnings = [*config.warnings, *troubles]
    if args.json:
        print(json.dumps({"ok": True, "mistakes": [], "warnings": warnings}, indent=2))
    else:
        for warning in warnings:
            complain(f"warning: {warning}")
        for line in _summary(config):
            print(f"ok: {printable(line)}")
    return Exit.OK


def _refuse(mistakes: list[str], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"ok": False, "mistakes": mistakes, "warnings": []}, indent=2))
    else:
        complain("\n".join(mistakes))
    return Exit.BAD_CONFIG


def _summary(config: "Config") -> Iterator[str]:
    """Yield a line for the apps that record the same into the same directory, and one for the cluster."""
    groups: dict[str, list[str]] = {}
    for app in config.apps:
        own = config.of_app(app.name)
        what = f"{', '.join(own.media.types)}; recordings in {own.recording.directory}"
        groups.setdefault(what, []).append(app.name)
    for what, apps in groups.items():
        yield f"app {', '.join(apps)}; {what}"
    if cluster := config.cluster:
        node, workers = cluster.node_name, config.daemon.processes
        members = f"members {node}.1 to {node}.{workers}" if workers > 1 else f"member {node}"
        yield f"{members} of cluster {cluster.name}; servers {', '.join(cluster.servers)}"


def _demo(args: argparse.Namespace) -> int:
    from rtmsd import demo  # noqa: PLC0415 - not at every start

    if args.workers is not None:
        from rtmsd.demo import workers  # noqa: PLC0415

        return workers.main(args.workers, keep=args.keep)
    if args.cluster:
        from rtmsd.demo import cluster  # noqa: PLC0415

        return cluster.main(keep=args.keep)
    return demo.main(fast=args.fast, keep=args.keep)


def _simulate(arguments: list[str]) -> int:
    from rtmsd.simulator.cli import command  # noqa: PLC0415 - not at every start

    return command.main(arguments)


def _completion(args: argparse.Namespace) -> int:
    import shtab  # noqa: PLC0415 - not at every start

    print(shtab.complete(build_parser({"FILE": shtab.FILE, "DIR": shtab.DIR}), shell=args.shell))
    return Exit.OK
