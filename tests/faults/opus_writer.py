"""A process that records Opus as fast as it can, to be killed: a recorder and its writer, without a network."""

import random
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import attrs
import trio

from rtmsd.protocol.causes import GapCause
from rtmsd.protocol.enums import PayloadType
from rtmsd.protocol.media_params import AudioFormat
from rtmsd.protocol.messages import SessionRef
from rtmsd.recording.disk.writer import Writer
from rtmsd.recording.manifest.header import StreamInfo
from rtmsd.recording.opening import open_recorder
from rtmsd.recording.recorder import Recorder

T: Final = 1_790_000_000_000
USERS: Final = (1, 2, 3)
AUDIO: Final = frozenset({"audio"})
OPUS: Final = AudioFormat(codec=PayloadType.OPUS, rate_hz=48_000, channels=1, mixed=False, send_rate_ms=20)
AT_ONCE: Final = 25
REPEATED: Final = 15
"""So many packets come again after a restart, as from Zoom's buffer."""


@attrs.frozen
class Settings:
    directory: Path
    sync_interval_s: float = 0.02
    buffer_bytes: int = 2**26


def packet(user_id: int, number: int) -> bytes:
    """One that no other is."""
    head = b"\xf8" + user_id.to_bytes(1, "big") + number.to_bytes(4, "big")
    return head + random.Random(number).randbytes(30 + number % 300)


def speaks(user_id: int, number: int) -> bool:
    """The third has a pause of 6 s now and then, which takes pages of its own."""
    return user_id != 3 or number % 500 < 200


def said(first: int, stop: int) -> Iterator[tuple[int, int]]:
    return ((number, user_id) for number in range(first, stop) for user_id in USERS if speaks(user_id, number))


def main(directory: Path, first: int, reports: Connection, *, until: int | None = None) -> None:
    """Record from packet `first` on, for ever, or up to `until` and end the stream; report how far all is synced."""
    trio.run(_main, directory, first, reports, until)


async def _main(directory: Path, first: int, reports: Connection, until: int | None) -> None:
    settings = Settings(directory)
    writer = Writer(settings)
    info = StreamInfo(
        rtms_stream_id="stream", product="session", session=SessionRef("session_id", "a"), app="main",
        started_ms=T, started_again_ms=T,
    )  # fmt: skip
    recorder = await open_recorder(info, writer, local_ms=lambda: T)
    recorder.media.audio_format(OPUS)
    async with trio.open_nursery() as nursery:
        await nursery.start(writer.run)
        if first:
            recorder.interrupted(GapCause.DAEMON_RESTART, AUDIO)
        recorder.connected("media", AUDIO)
        at = max(0, first - REPEATED)
        while until is None or at < until:
            stop = at + AT_ONCE if until is None else min(until, at + AT_ONCE)
            _say(recorder, at, stop)
            at = stop
            reports.send(("sent", at))
            await recorder.flusher.flush()
            reports.send(("synced", at))
        recorder.ended(6, T + 20 * at)
        await recorder.finish()
        nursery.cancel_scope.cancel()


def _say(recorder: Recorder, first: int, stop: int) -> None:
    for number, user_id in said(first, stop):
        recorder.media.audio(user_id, None, T + 20 * number, packet(user_id, number))
