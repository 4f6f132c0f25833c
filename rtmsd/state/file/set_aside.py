"""State files that were set aside: renamed, and removed when they contain a revoked stream."""

import contextlib
import enum
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

FILES: Final = ("", "-wal", "-shm")
"""Suffixes of the state file, and of the files that SQLite keeps beside it."""

_PIECE_BYTES: Final = 2**20


class Why(enum.StrEnum):
    """Why a file was set aside; part of its new name."""

    DAMAGED = "damaged"
    REPLACED = "replaced"


def move_aside(path: Path, why: Why, beside: Sequence[str] = FILES[1:]) -> Path:
    """Rename a file, with those that SQLite keeps beside it if they are its own, and return its new name."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (path.with_name(f"{path.name}.{why}-{now}{number}") for number in ("", *(f"-{n}" for n in range(2, 1000))))
    aside = next(name for name in names if not os.path.lexists(name))
    path.rename(aside)
    for suffix in beside:
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
    return aside


def remove_containing(path: Path, rtms_stream_id: str) -> list[Path]:
    """Remove the set-aside files of the state file `path` that contain a stream's id, and return them.

    Raises:
        OSError: one could not be read or removed.
    """
    removed = []
    for aside in [found for why in Why for found in path.parent.glob(f"*.{why}-*")]:
        if not aside.name.startswith(f"{path.name}.") or aside.name.endswith(FILES[1:]):
            continue
        group = [file for suffix in FILES if (file := Path(f"{aside}{suffix}")).is_file()]
        if any(_contains(file, rtms_stream_id.encode()) for file in group):
            for file in group:
                file.unlink(missing_ok=True)
            removed.append(aside)
    return removed


def _contains(path: Path, needle: bytes) -> bool:
    with path.open("rb") as file:
        before = b""
        while piece := file.read(_PIECE_BYTES):
            if needle in before + piece:
                return True
            before = piece[-len(needle) :]
    return False
