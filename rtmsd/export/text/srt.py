"""SubRip subtitles: numbered cues, each of one line with its speaker. Pure."""

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from rtmsd.export.text.plain import one_line
from rtmsd.recording.media.captions import clock, shown_ms, speaker

_WIDE: Final = str.maketrans("<>{}", "\uff1c\uff1e\uff5b\uff5d")
"""SubRip has no escapes: the wide forms of its markup look alike, and no player takes them for it."""

_JOINER: Final = "\u2060"  # has no width
_TIME: Final = re.compile(r"(?<=\d):(?=\d{1,2}:\d{1,2}[.,]\d)")
_BREAK: Final = re.compile(r"\\(?=[Nnh])")


def srt(utterances: Iterable[dict[str, Any]], origin_ms: int) -> Iterator[str]:
    """Yield the cues as text, their times relative to `origin_ms`."""
    for number, (start_ms, end_ms, said) in enumerate(cues(utterances, origin_ms), 1):
        yield f"{number}\n{_clock(start_ms)} --> {_clock(end_ms)}\n{said}\n\n"


def cues(utterances: Iterable[dict[str, Any]], origin_ms: int) -> Iterator[tuple[int, int, str]]:
    """Yield the cues: from when to when each is shown, relative to `origin_ms`, and its text."""
    for line in utterances:
        if text := _safe(line["text"]):
            name = _safe(speaker(line))
            yield *shown_ms(line, origin_ms), f"{name}: {text}" if name else text


def _safe(text: str) -> str:
    """Return a text without what programs read as markup, line break or timing."""
    shown = one_line(text).translate(_WIDE)
    return _BREAK.sub("\\\\" + _JOINER, _TIME.sub(":" + _JOINER, shown))


def _clock(time_ms: int) -> str:
    return clock(time_ms).replace(".", ",")
