"""WebVTT from a transcript: pure. The lines of `transcript.jsonl` are the source, so it can always be made again."""

import unicodedata
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from rtmsd.protocol.enums import MessageAttribute
from rtmsd.recording.manifest.schema import MIX_NAME, MIX_USER_ID

HEAD: Final = "WEBVTT\n\n"
_READING_MS: Final = 2000
"""How long a cue stays when Zoom did not say how long the utterance was, or it was over before the stream began."""

_NO_TEXT: Final = frozenset({"Cc", "Cs"})
"""Categories of what is no text: controls, at which programs stop to read, and halves of surrogate pairs."""

_REVISIONS: Final = frozenset({MessageAttribute.UPDATE, MessageAttribute.DELETE})

_Line: TypeAlias = dict[str, Any]


def cue(line: _Line, started_ms: int) -> str:
    """Return the cue for one line of the transcript, its times relative to `started_ms`; "" where there is no text."""
    text = _escape(line["text"])
    if not text or line["attribute"] == MessageAttribute.DELETE:
        return ""
    start_ms, end_ms = shown_ms(line, started_ms)
    name = _escape(speaker(line))
    return f"{clock(start_ms)} --> {clock(end_ms)}\n{f'<v {name}>' if name else ''}{text}\n\n"


def shown_ms(line: _Line, started_ms: int) -> tuple[int, int]:
    """Return from when to when a cue is shown, relative to `started_ms`."""
    begins_ms = begin_ms(line)
    start_ms = max(0, begins_ms - started_ms)
    end_ms = begins_ms if line["end_ms"] is None or line["end_ms"] <= begins_ms else line["end_ms"]
    return start_ms, end_ms - started_ms if end_ms - started_ms > start_ms else start_ms + _READING_MS


def begin_ms(line: _Line) -> int:
    """Return when an utterance begins."""
    start_ms: int | None = line["start_ms"]
    return line["timestamp_ms"] if start_ms is None else start_ms


def speaker(line: _Line) -> str:
    """Return who speaks, by name or else by id, on one line; "" where nobody is named."""
    if name := plain(line["user_name"] or ""):
        return name
    user_id = line["user_id"]
    if user_id == MIX_USER_ID:
        return MIX_NAME
    return "" if user_id is None else plain(str(user_id))


def plain(text: str) -> str:
    """Return a text on one line, without control characters."""
    return " ".join("".join(" " if unicodedata.category(char) in _NO_TEXT else char for char in text).split())


def clock(time_ms: int) -> str:
    """Return a time as WebVTT has it: "00:02:05.250"."""
    seconds, ms = divmod(time_ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"


def captions(lines: Iterable[_Line], started_ms: int) -> str:
    """Return the whole file."""
    return HEAD + "".join(cue(line, started_ms) for line in utterances(lines))


def utterances(lines: Iterable[_Line]) -> list[_Line]:
    """Return what was said: sorted, revisions in place of what they revise, deleted utterances left out.

    A revision is of the utterance of the same user with the same start, or, where one of the two has no start, with
    the same timestamp. One that comes before its utterance, as it may over two connections, waits for it.
    """
    said: dict[int, _Line] = {}  # and deletions that wait
    revised: dict[tuple[Any, ...], list[int]] = {}  # by user and time: which utterances
    waiting: set[int] = set()
    for number, line in enumerate(lines):
        attribute, target = line["attribute"], number
        found = _revised_by(line, revised, said)
        if attribute not in _REVISIONS and (early := waiting.intersection(found)):
            target = min(early)
            waiting.remove(target)
            if said[target]["attribute"] == MessageAttribute.DELETE:
                del said[target]
                continue
            said[target] = _from_one_start(said[target], line)
        elif attribute not in _REVISIONS:
            said[target] = line
        elif any(said[each]["attribute"] == MessageAttribute.DELETE for each in found):
            continue
        elif attribute == MessageAttribute.UPDATE and found:
            target = found[0]
            said[target] = _from_one_start(line, said[target])
        elif found:
            for each in found:
                if each in waiting:
                    said[each] = line
                else:
                    del said[each]
            continue
        elif not any(key in revised for key in _keys(line)):
            waiting.add(target)
            said[target] = line
        elif attribute == MessageAttribute.UPDATE:  # of what was deleted
            said[target] = line
        else:
            continue
        for key in _keys(line):
            if target not in (numbers := revised.setdefault(key, [])):
                numbers.append(target)
    spoken = (line for line in said.values() if line["attribute"] != MessageAttribute.DELETE)
    return sorted(spoken, key=begin_ms)


def _from_one_start(line: _Line, other: _Line) -> _Line:
    """Return a line, with the start of another one where it has none."""
    return line if line["start_ms"] is not None else {**line, "start_ms": other["start_ms"]}


def _keys(line: _Line) -> list[tuple[Any, ...]]:
    start_ms = line["start_ms"]
    stamped = (line["user_id"], "timestamp", line["timestamp_ms"])
    return [stamped] if start_ms is None else [(line["user_id"], "start", start_ms), stamped]


def _revised_by(line: _Line, revised: dict[tuple[Any, ...], list[int]], said: dict[int, _Line]) -> list[int]:
    """Return the utterances that a revision is of."""
    *started, stamped = _keys(line)
    for key in started:
        if found := [number for number in revised.get(key, ()) if number in said]:
            return found
    numbers = [number for number in revised.get(stamped, ()) if number in said]
    return [number for number in numbers if not started or said[number]["start_ms"] is None]


def _escape(text: str) -> str:
    """Escape what WebVTT would read as markup, and keep a cue in one paragraph."""
    return plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
