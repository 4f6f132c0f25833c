"""The places of a stream's files, and names that are safe whatever an id contains."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from rtmsd.recording.disk.nofollow import is_directory, walk
from rtmsd.recording.manifest.schema import MIX_NAME, MIX_USER_ID

EVENTS: Final = "events.jsonl"
TRANSCRIPT: Final = "transcript.jsonl"
CAPTIONS: Final = "transcript.vtt"
EXPORTS: Final = "export"
"""The directory in a recording for what was made of it: no part of the recording, but deleted with it."""

_NAME_BYTES: Final = 120
_HASH_DIGITS: Final = 16
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = 253_402_300_799_999  # the end of the year 9999, where datetime stops
DAY_MS: Final = 86_400_000


def safe_name(text: str) -> str:
    """Return `text` as a file name: `[A-Za-z0-9_-]` stay, the rest is percent-encoded; at most 120 bytes."""
    name = quote(text, safe="", errors="surrogatepass").replace(".", "%2E").replace("~", "%7E")
    if 0 < len(name) <= _NAME_BYTES:
        return name
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_HASH_DIGITS]
    return f"{name[: _NAME_BYTES - _HASH_DIGITS - 1]}-{digest}"


def participant_name(user_id: int | str) -> str:
    """Return the stem of a participant's files; the mix of everybody, number 0, has a name of its own."""
    if user_id == MIX_USER_ID:
        return MIX_NAME
    name = safe_name(str(user_id))
    return "%6Dixed" if name == MIX_NAME else name


def owner_of(stem: str) -> int | str:
    """Return whose a file of that name is, as far as the name shows."""
    if stem == participant_name(MIX_USER_ID):
        return MIX_USER_ID
    return int(stem) if stem.isdecimal() else unquote(stem)


def recorded_paths(directory: Path) -> list[Path]:
    """Return all that is in a recording, in order, but for what was made of it."""
    return [directory / name for name, _ in walk(str(directory)) if name.partition("/")[0] != EXPORTS]


def building_of(directory: Path) -> Path:
    """Return where a recording is joined that is to get a directory: no name of a recording."""
    return directory.with_name(f".{directory.name}.gathering")


def aside_of(directory: Path) -> Path:
    """Return where the part goes that a joined recording replaces, until that has its place."""
    return directory.with_name(f".{directory.name}.part")


def staging_of(directory: Path) -> Path:
    """Return where the parts that other members have of a recording are copied to, before they are joined with it."""
    return directory.parent.parent / ".parts" / directory.name


def date_of(time_ms: int) -> str:
    """Return the date in UTC, as YYYY-MM-DD."""
    return (_EPOCH + timedelta(milliseconds=min(max(time_ms, 0), _LAST_MS))).strftime("%Y-%m-%d")


def time_of(date: str) -> int:
    """Return the midnight in UTC that a date begins with; 0 for what is no date."""
    try:
        return int(datetime.strptime(f"{date} +0000", "%Y-%m-%d %z").timestamp()) * 1000
    except ValueError:
        return 0


def midnight_ms(time_ms: int) -> int:
    """Return the midnight in UTC before `time_ms`."""
    return time_ms - time_ms % DAY_MS


def stream_directory(root: Path, started_ms: int, rtms_stream_id: str) -> Path:
    """Return the directory of a stream: the one it has already, whatever its date, else the one for its start."""
    name = safe_name(rtms_stream_id)
    ours = root / date_of(started_ms) / name
    if is_directory(ours):
        return ours
    # Of each start, with the recordings of years: a `Path` for each date would take four times as long.
    return next((root / day / name for day in _date_names(root) if is_directory(f"{root}/{day}/{name}")), ours)


def dates(root: Path) -> list[Path]:
    """Return the directories of all dates, the newest first; none if there is no recording yet."""
    return [root / name for name in _date_names(root)]


def _date_names(root: Path) -> list[str]:
    if not root.is_dir():
        return []
    with os.scandir(root) as entries:  # beside dates there may be `rtmsd.config.workers.WORKERS`
        days = [each.name for each in entries if each.is_dir(follow_symlinks=False) and each.name[0].isdecimal()]
    return sorted(days, reverse=True)
