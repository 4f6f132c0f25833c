"""The page of a recording: one file for a browser, which shows, finds and plays what was said."""

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from rtmsd.export.audio.mixing import sound
from rtmsd.export.audio.plan import make_plan
from rtmsd.export.audio.reading import check_libraries
from rtmsd.export.errors import ExportError, RecordingRevoked
from rtmsd.export.output import Output
from rtmsd.export.page.data import Axis, Lane, Pictures, length, page_data
from rtmsd.export.page.document import document
from rtmsd.export.page.mix import make_mix
from rtmsd.export.page.peaks import PEAK_MS, peaks_of
from rtmsd.export.report import Report
from rtmsd.export.request import Request
from rtmsd.export.source import Source
from rtmsd.export.span import Span
from rtmsd.export.text.chat import in_short
from rtmsd.export.text.messages import State, read_messages
from rtmsd.export.text.plain import one_line
from rtmsd.recording.manifest.lines import MEDIA_FILES, Line
from rtmsd.recording.manifest.schema import MIX_USER_ID
from rtmsd.recording.media.captions import begin_ms, utterances

_MARK_MS: Final = 1000
"""Marks of images are no closer."""

_FLAT: Final = 100
"""A peak of speech of which there is no audio."""

_LONGEST_MS: Final = 48 * 3_600_000

_SAID: Final = Line.UTTERANCE.value.__struct_fields__
"""What is kept of a line of the transcript: there are thousands, each read with keys of its own."""

_NAMES: Final = 12
"""Names in the header, at most."""


def export(source: Source, request: Request, report: Report) -> None:
    """Write `page.html`, and beside it the sound that it links to."""
    request.check_options()
    lines = source.lines(MEDIA_FILES["transcript"], Line.UTTERANCE)
    written = utterances({key: line[key] for key in _SAID} for line in lines)
    spoke = {line["user_id"] for line in written if line["user_id"] is not None}
    request.check_participants(source, also=[*source.audio, *spoke])
    span = request.span(source)
    said = [line for line in written if request.wants(line["user_id"])]
    owners = _owners(source, request, span)
    with Output(source, request, report) as output, tempfile.TemporaryFile() as spool:
        share = report.share(0, len(owners) + 1)
        mix = make_mix(source, request, report, output, spool=spool, progress=share)
        lanes = list(_heard(source, request, report, owners))
        first_ms = min([source.started_ms, mix.from_ms, *(lane.from_ms for lane in lanes)])
        axis = Axis(source.started_ms, *span.clamp(first_ms, source.end_ms), span)
        lanes += _written(source, axis, said, {lane.user_id for lane in lanes})
        report.duration_ms = axis.to_ms - axis.from_ms
        data = page_data(
            source,
            axis,
            lanes,
            pictures=list(_pictures(source, request, span)),
            utterances=said,
            chat=sorted(_chat(source, request)),
            audio_from_ms=mix.from_ms,
            wants=request.wants,
        )
        facts = _facts(source, report.duration_ms, lanes, data["shades"])
        with output.file("page.html", duration_ms=report.duration_ms) as file:
            for piece in document(data, _heading(source), facts, mix.note, mix.url):
                file.write(piece.encode(errors="replace"))
    report.notes.append(mix.note)


def _heading(source: Source) -> str:
    started = datetime.fromtimestamp(source.started_ms / 1000, UTC)
    return f"{str(source.manifest.product).replace('_', ' ')}, {started:%Y-%m-%d %H:%M} UTC"


def _facts(source: Source, duration_ms: int, lanes: list[Lane], shades: list[dict[str, Any]]) -> Iterator[str]:
    names = [one_line(lane.name) for lane in lanes]
    yield f"{length(duration_ms)}{' so far, the stream is live' if source.is_live else ''}"
    if names:
        more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
        yield f"Speakers: {', '.join(names[:_NAMES])}{more}"
    if gaps := [(shade["from_s"], shade["to_s"]) for shade in shades if not shade["pause"]]:
        missing_s, until_s = 0.0, gaps[0][0]
        for from_s, to_s in gaps:  # by their start; several media may miss the same time
            missing_s += max(0.0, to_s - max(from_s, until_s))
            until_s = max(until_s, to_s)
        yield f"Gaps: {len(gaps)}, of {length(round(missing_s * 1000))} in all"
    if elsewhere_ms := sum(each.to_ms - each.from_ms for each in source.elsewhere):
        yield f"Not here: {length(elsewhere_ms)}, recorded by other nodes"
    yield f"Stream {source.manifest.rtms_stream_id}"


def _owners(source: Source, request: Request, span: Span) -> list[int | str]:
    """Return those of whom there is audio in a span, the mix only where there is nobody else."""
    owners = [
        user_id
        for user_id, files in source.audio.items()
        if request.wants(user_id) and any(span.meets(file.start_ms, file.end_ms) for file in files)
    ]
    return [each for each in owners if each != MIX_USER_ID] or owners


def _heard(source: Source, request: Request, report: Report, owners: list[int | str]) -> Iterator[Lane]:
    for number, user_id in enumerate(owners, 1):
        title, share = source.name(user_id), report.share(number, len(owners) + 1)
        alone = attrs.evolve(request, user_ids=frozenset({str(user_id)}), is_tracks=True)
        try:
            plan = make_plan(source, alone)
            check_libraries(plan)
        except RecordingRevoked:
            raise
        except ExportError as error:
            report.notes.append(f"{title}: no peaks: {error}")
            continue
        peaks = peaks_of(sound(source, plan, plan.tracks, report, title=title, progress=share))
        yield Lane(user_id, title, "audio", plan.from_ms, peaks)


def _written(source: Source, axis: Axis, said: list[dict[str, Any]], heard: set[int | str]) -> Iterator[Lane]:
    """Yield lanes of those of whom there is a transcript only: flat, when they spoke."""
    spans: dict[int | str, list[tuple[int, int]]] = {}
    for line in said:
        if line["user_id"] is not None and line["user_id"] not in heard:
            from_ms = begin_ms(line)
            from_ms, to_ms = max(from_ms, axis.from_ms), min(max(from_ms + PEAK_MS, line["end_ms"] or 0), axis.to_ms)
            if from_ms < to_ms:
                spans.setdefault(line["user_id"], []).append((from_ms, to_ms))
    for user_id, times in spans.items():
        first_ms, last_ms = min(from_ms for from_ms, _ in times), max(to_ms for _, to_ms in times)
        if last_ms - first_ms > _LONGEST_MS:
            continue  # times that cannot be
        peaks = bytearray((last_ms - first_ms) // PEAK_MS + 1)
        for from_ms, to_ms in times:
            begin, end = (from_ms - first_ms) // PEAK_MS, (to_ms - first_ms) // PEAK_MS
            peaks[begin:end] = bytes([_FLAT]) * (end - begin)
        yield Lane(user_id, source.name(user_id), "transcript", first_ms, bytes(peaks))


def _chat(source: Source, request: Request) -> Iterator[tuple[int, str, str]]:
    messages, _ = read_messages(source.lines(MEDIA_FILES["chat"], Line.CHAT))
    for message in messages.values():
        sender = None if message.sent is None else message.sent.user_id
        if message.state is not State.UNSEEN and request.wants(sender):
            yield message.time_ms, *in_short(message)


def _pictures(source: Source, request: Request, span: Span) -> Iterator[Pictures]:
    for media in ("video", "share"):
        for entry in source.files(media):
            if not request.wants(entry.user_id) or not isinstance(entry.index, str):
                continue
            count = 0
            times_ms: list[int] = []
            for line in source.lines(entry.index, Line.PICTURE):
                if span.contains(line["timestamp_ms"]) and line.get("key", not entry.path.endswith(".h264")):
                    count += 1
                    if not times_ms or line["timestamp_ms"] - times_ms[-1] >= _MARK_MS:
                        times_ms.append(line["timestamp_ms"])
            yield Pictures(media, entry.user_id, source.name(entry.user_id), count, times_ms)
