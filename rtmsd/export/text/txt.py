"""A transcript to read: a line for what one speaker says without a longer pause, with time and speaker. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from rtmsd.export.text.plain import clock, one_line
from rtmsd.recording.media.captions import begin_ms, speaker

PAUSE_MS: Final = 2000
"""From this long on, what follows a pause is a line of its own."""


def txt(utterances: Iterable[dict[str, Any]], origin_ms: int) -> Iterator[str]:
    """Yield lines as `[0:12:05] Ana: Good morning.`, their times relative to `origin_ms`."""
    texts: list[str] = []
    first: dict[str, Any] = {}
    ended_ms = 0
    for line in utterances:
        text = one_line(line["text"])
        if not text:
            continue
        starts_ms = begin_ms(line)
        if texts and (line["user_id"] != first["user_id"] or starts_ms - ended_ms >= PAUSE_MS):
            yield _line(first, texts, origin_ms)
            texts = []
        if not texts:
            first, ended_ms = line, starts_ms
        texts.append(text)
        ended_ms = max(ended_ms, starts_ms, line["end_ms"] or 0)
    if texts:
        yield _line(first, texts, origin_ms)


def _line(first: dict[str, Any], texts: list[str], origin_ms: int) -> str:
    name = one_line(speaker(first))
    said = " ".join(texts)
    return f"[{clock(begin_ms(first) - origin_ms)}] {f'{name}: ' if name else ''}{said}\n"
