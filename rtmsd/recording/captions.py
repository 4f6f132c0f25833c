"""WebVTT from a transcript: pure. The lines of `transcript.jsonl` are the source, so it can always be made again."""

from collections.abc import Iterable
from typing import Any, Final

from rtmsd.protocol.enums import MessageAttribute

HEAD: Final = "WEBVTT\n\n"
_READING_MS: Final = 2000
"""How long a cue stays when Zoom did not say how long the utterance was."""


def cue(line: dict[str, Any], started_ms: int) -> str:
    """Return the cue for one line of the transcript, its times relative to `started_ms`."""
    start_ms = line["timestamp_ms"] if line["start_ms"] is None else line["start_ms"]
    end_ms = start_ms + _READING_MS if line["end_ms"] is None or line["end_ms"] <= start_ms else line["end_ms"]
    speaker = line["user_name"] or ("" if line["user_id"] is None else str(line["user_id"]))
    text = _escape(line["text"])
    return (
        f"{_clock(start_ms - started_ms)} --> {_clock(end_ms - started_ms)}\n"
        f"{f'<v {_escape(speaker)}>' if speaker else ''}{text}\n\n"
    )


def captions(lines: Iterable[dict[str, Any]], started_ms: int) -> str:
    """Return the whole file: sorted, revisions in place of what they revise, deleted utterances left out."""
    utterances: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, line in enumerate(lines):
        start_ms = line["start_ms"]
        # Without a start nothing says which utterance is revised, so each message stands for itself.
        key = (line["user_id"], start_ms, None if start_ms is not None else number)
        match line["attribute"]:
            case MessageAttribute.DELETE:
                utterances.pop(key, None)
            case MessageAttribute.UPDATE:
                utterances[key] = line
            case _:
                utterances[key if key not in utterances else (*key, number)] = line
    in_order = sorted(utterances.values(), key=lambda line: line["start_ms"] or line["timestamp_ms"])
    return HEAD + "".join(cue(line, started_ms) for line in in_order)


def _clock(time_ms: int) -> str:
    seconds, ms = divmod(max(0, time_ms), 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}"


def _escape(text: str) -> str:
    """Escape what WebVTT would read as markup, and keep a cue in one paragraph."""
    plain = " ".join(text.split())
    return plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
