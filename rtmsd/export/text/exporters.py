"""The exporters of texts: `transcript.srt`, `.vtt`, `.txt` and `chat.txt`, of a recording or of a part of it.

Times are relative to the start of the recording, as in the daemon's own `transcript.vtt`, or to `--from`.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from rtmsd.export.errors import ExportError
from rtmsd.export.output import Output
from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.export.span import Span
from rtmsd.export.text.chat import chat
from rtmsd.export.text.messages import Message, State, read_messages
from rtmsd.export.text.srt import srt
from rtmsd.export.text.txt import txt
from rtmsd.recording.manifest.lines import FILES, MEDIA_FILES
from rtmsd.recording.media.captions import HEAD, begin_ms, cue, utterances

_EVERY: Final = 1000  # lines, between two looks at the recording
_USUAL_BYTES: Final = 400  # of a line
_AT_ONCE: Final = 1 << 16  # characters


def export_transcript(source: Source, request: Request, report: Report) -> None:
    """Write the transcript as `request.format` says: revised and sorted."""
    request.check_options(stdout=True)
    span, origin_ms = _span(source, request)
    lines = list(_lines(source, "transcript", report))
    request.check_participants(source, {line["user_id"] for line in lines if line["user_id"] is not None})
    said = within(span, [line for line in utterances(lines) if request.wants(line["user_id"])])
    match request.format:
        case "srt":
            text = srt(said, origin_ms)
        case "vtt":
            text = _vtt(said, origin_ms)
        case _:
            text = txt(said, origin_ms)
    _write(source, request, report, f"transcript.{request.format}", text)


def export_chat(source: Source, request: Request, report: Report) -> None:
    """Write the chat as it stood in the end."""
    request.check_options(stdout=True)
    span, origin_ms = _span(source, request)
    messages, unknown = read_messages(_lines(source, "chat", report))
    senders = {message.sent.user_id for message in messages.values() if message.sent is not None}
    request.check_participants(source, {user_id for user_id in senders if user_id is not None})
    if unknown:
        report.notes.append(f"chat messages of a kind that rtmsd does not know, left out: {unknown}")

    def wants(message: Message) -> bool:
        user_id = None if message.sent is None else message.sent.user_id
        return request.wants(user_id) and span.contains(message.time_ms)

    if unseen := sum(message.state is State.UNSEEN for message in messages.values()):
        report.notes.append(f"chat messages that are not in the recording, while replies or reactions are: {unseen}")
    _write(source, request, report, "chat.txt", chat(messages, origin_ms, wants))


def _span(source: Source, request: Request) -> tuple[Span, int]:
    span = request.span(source)
    return span, max(source.started_ms, span.from_ms or 0)


def _lines(source: Source, media: str, report: Report) -> Iterator[dict[str, Any]]:
    """Yield the lines of a medium.

    Raises:
        ExportError: there is none.
    """
    name = MEDIA_FILES[media]
    path = source.directory / name
    if not path.is_file():
        if not source.files(media):
            raise ExportError(f"{source.directory}: has no {media}", f'Was "{media}" in media.types, and granted?')
        source.damaged(name, "listed in the manifest and not there")
        return
    expected = max(1, path.stat().st_size // _USUAL_BYTES)
    for number, line in enumerate(source.lines(name, FILES[name])):
        if number % _EVERY == 0:
            report.progress(number / expected)
        yield line


def within(span: Span, said: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what is said in a span; what reaches over its ends is cut."""
    for line in said:
        start_ms = begin_ms(line)
        end_ms = start_ms if line["end_ms"] is None else line["end_ms"]
        first_ms, last_ms = span.clamp(start_ms, max(end_ms, start_ms + 1))
        if last_ms > first_ms:
            is_cut = (first_ms, last_ms) != (start_ms, max(end_ms, start_ms + 1))
            yield {**line, "start_ms": first_ms, "end_ms": last_ms} if is_cut else line


def _vtt(said: Iterable[dict[str, Any]], origin_ms: int) -> Iterator[str]:
    yield HEAD
    for line in said:
        yield cue(line, origin_ms)


def _write(source: Source, request: Request, report: Report, name: str, parts: Iterable[str]) -> None:
    with Output(source, request, report) as output, output.file(name) as file:
        waiting: list[str] = []
        size = 0
        for part in parts:
            waiting.append(part)
            size += len(part)
            if size >= _AT_ONCE:
                report.progress(1)
                file.write("".join(waiting).encode(errors="replace"))
                waiting, size = [], 0
        file.write("".join(waiting).encode(errors="replace"))
