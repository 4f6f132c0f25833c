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

_Line: TypeAlias = dict[str, Any]


def cue(line: _Line, started_ms: int) -> str:
    """Return the cue for one line of the transcript, its times relative to `started_ms`; "" where there is no text."""
    text = _escape(line["text"])
    if not text or line["attribute"] == MessageAttribute.DELETE:
        return ""
    begins_ms = line["timestamp_ms"] if line["start_ms"] is None else line["start_ms"]
    start_ms = max(0, begins_ms - started_ms)
    end_ms = begins_ms if line["end_ms"] is None or line["end_ms"] <= begins_ms else line["end_ms"]
    shown_ms = (start_ms, end_ms - started_ms if end_ms - started_ms > start_ms else start_ms + _READING_MS)
    speaker = _speaker(line)
    return f"{_clock(shown_ms[0])} --> {_clock(shown_ms[1])}\n{f'<v {speaker}>' if speaker else ''}{text}\n\n"


def captions(lines: Iterable[_Line], started_ms: int) -> str:
    """Return the whole file: sorted, revisions in place of what they revise, deleted utterances left out.

    A revision is of the utterance of the same user with the same start, or, where one of the two has no start, with
    the same timestamp.
    """
    utterances: dict[int, _Line] = {}
    revised: dict[tuple[Any, ...], list[int]] = {}  # by user and time: which utterances
    for number, line in enumerate(lines):
        found = _revised_by(line, revised, utterances)
        match line["attribute"]:
            case MessageAttribute.DELETE:
                for each in found:
                    del utterances[each]
                continue
            case MessageAttribute.UPDATE if found:
                target = found[0]
                start_ms = utterances[target]["start_ms"] if line["start_ms"] is None else line["start_ms"]
                utterances[target] = {**line, "start_ms": start_ms}
            case _:
                target = number
                utterances[target] = line
        for key in _keys(line):
            if target not in (numbers := revised.setdefault(key, [])):
                numbers.append(target)
    in_order = sorted(utterances.values(), key=lambda line: line["start_ms"] or line["timestamp_ms"])
    return HEAD + "".join(cue(line, started_ms) for line in in_order)


def _keys(line: _Line) -> list[tuple[Any, ...]]:
    start_ms = line["start_ms"]
    stamped = (line["user_id"], "timestamp", line["timestamp_ms"])
    return [stamped] if start_ms is None else [(line["user_id"], "start", start_ms), stamped]


def _revised_by(line: _Line, revised: dict[tuple[Any, ...], list[int]], utterances: dict[int, _Line]) -> list[int]:
    """Return the utterances that a revision is of."""
    *started, stamped = _keys(line)
    for key in started:
        if found := [number for number in revised.get(key, ()) if number in utterances]:
            return found
    numbers = [number for number in revised.get(stamped, ()) if number in utterances]
    return [number for number in numbers if not started or utterances[number]["start_ms"] is None]


def _speaker(line: _Line) -> str:
    if name := _escape(line["user_name"] or ""):
        return name
    user_id = line["user_id"]
    if user_id == MIX_USER_ID:
        return MIX_NAME
    return "" if user_id is None else _escape(str(user_id))


def _clock(time_ms: int) -> str:
    seconds, ms = divmod(time_ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"


def _escape(text: str) -> str:
    """Escape what WebVTT would read as markup, and keep a cue in one paragraph."""
    shown = "".join(" " if unicodedata.category(char) in _NO_TEXT else char for char in text)
    return " ".join(shown.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
