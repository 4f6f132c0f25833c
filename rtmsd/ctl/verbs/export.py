"""Files made of recordings: export, remux, page."""

import contextlib
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import attrs

from rtmsd.ctl.context import Context
from rtmsd.ctl.errors import CtlError, Exit
from rtmsd.ctl.formatting import milliseconds, size
from rtmsd.ctl.output import Item
from rtmsd.ctl.verbs.recordings import directory_of
from rtmsd.export.errors import ExportError, NoSuchParticipant, RecordingRevoked, WrongRequest
from rtmsd.export.exporters import find
from rtmsd.export.report import Report
from rtmsd.export.request import STDOUT, Request
from rtmsd.export.source import Source
from rtmsd.export.span import write_offset
from rtmsd.recording.disk.paths import EXPORTS
from rtmsd.terminal import complain, error_text

_EXITS: Final = {WrongRequest: Exit.USAGE, NoSuchParticipant: Exit.NO_SUCH_STREAM, RecordingRevoked: Exit.REFUSED}
_EACH: Final = 50
"""Results in one directory that are listed one by one, at most."""

_SIGNALS: Final = (signal.SIGTERM, signal.SIGHUP)


def export(context: Context) -> Exit:
    """Export in one of the formats."""
    args = context.args
    request = _request(context, args.format)
    return _run(
        context,
        args.format,
        attrs.evolve(request, is_tracks=args.tracks, bitrate=args.bitrate, rate_hz=args.rate),
    )


def remux(context: Context) -> Exit:
    """Put pictures into a container that programs play."""
    return _run(context, "remux", _request(context, context.args.format))


def page(context: Context) -> Exit:
    """Make a page for browsers."""
    return _run(context, "page", attrs.evolve(_request(context, "page"), audio=context.args.audio))


def _request(context: Context, form: str) -> Request:
    args = context.args
    return Request(
        format=form,
        first=args.first,
        last=args.last,
        user_ids=frozenset(args.user_id),
        is_forced=args.force,
        output=args.output,
    )


def _run(context: Context, exporter: str, request: Request) -> Exit:
    """Export, and say what was made; FAILED when something in the recording is damaged."""
    if request.output == STDOUT and context.out.as_json:
        raise CtlError(Exit.USAGE, "--json and --output - would both write to standard output")
    name, source = context.args.recording, None
    try:
        with _signals_as_exit():
            source = Source(directory_of(context, name))
            report = Report(source, _show_progress if sys.stderr.isatty() else lambda _: None)
            find(exporter)(source, request, report)
    except ExportError as error:
        _describe_problems(source)
        raise CtlError(_EXITS.get(type(error), Exit.FAILED), str(error), error.hint) from error
    except PermissionError as error:
        is_result = request.output is None and EXPORTS in Path(str(error.filename)).parts
        hint = "--output FILE writes to another place." if is_result else ""
        raise CtlError(Exit.NOT_PERMITTED, error_text(error), hint) from error
    finally:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    _describe(context, source, report, is_quiet=request.output == STDOUT)
    return Exit.FAILED if source.problems else Exit.OK


@contextlib.contextmanager
def _signals_as_exit() -> Iterator[None]:
    """Have signals raise SystemExit, as SIGINT raises KeyboardInterrupt, so that what was written is removed."""
    ending = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]  # not if ignored: `nohup`
    for number in ending:
        signal.signal(number, _leave)
    try:
        yield
    finally:
        for number in ending:
            signal.signal(number, signal.SIG_DFL)


def _leave(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _show_progress(done: float) -> None:
    print(f"\r{done:4.0%}", end="", file=sys.stderr, flush=True)


def _describe_problems(source: Source | None) -> None:
    if source is not None:
        for problem in source.problems:
            complain(f"rtmsctl: {source.directory / problem.path}: {problem.detail}")


def _describe(context: Context, source: Source, report: Report, *, is_quiet: bool) -> None:
    """Print the results, and on standard error what else there is to know: standard output may be the result."""
    _describe_problems(source)
    if context.out.as_json:
        context.out.json(report.to_json())
        return
    notes = [*report.notes]
    if source.is_live:
        notes.append(f"the stream is live: exported until {write_offset(source.end_ms - source.started_ms)}")
    if report.clipped:
        notes.append(f"{report.clipped} samples clipped")
    for note in notes:
        complain(f"rtmsctl: {note}")
    if not is_quiet:
        for path, what in _results(report.files):
            context.out.labelled(path, what)


def _results(files: Iterable[Item]) -> Iterator[tuple[str, str]]:
    """Yield the results with their sizes; of a directory with many, as of images, their number."""
    folders: dict[Path, list[Item]] = {}
    for file in files:
        folders.setdefault(Path(file["path"]).parent, []).append(file)
    for folder, within in folders.items():
        if len(within) > _EACH:
            yield str(folder), f"{len(within)} files, {size(sum(file['bytes'] for file in within))}"
            continue
        for file in within:
            lasts = f", {milliseconds(file['duration_ms'])}" if "duration_ms" in file else ""
            yield file["path"], f"{size(file['bytes'])}{lasts}"
