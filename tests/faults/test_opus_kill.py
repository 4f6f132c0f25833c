"""SIGKILL at any instant while Opus is written: no file is unreadable, nothing synced is lost, and lengths are true."""

import contextlib
import io
import multiprocessing
import random
import signal
from pathlib import Path
from typing import Final

import attrs
import soundfile

from rtmsd.recording.media.ogg.packets import silence
from rtmsd.recording.media.ogg.pages import read_pages
from rtmsd.recording.verify.opus_reader import read_opus
from rtmsd.recording.verify.verify import missing, verify
from tests.faults import opus_writer
from tests.faults.opus_writer import USERS, T, packet, said, speaks

KILLS: Final = 50
LIMIT_S: Final = 60


@attrs.define
class Murder:
    """Starts processes that record, and kills them.

    Attributes:
        sent, synced: how many packets of each person were handed over, and were on disk, as far as was reported.
        next: the packet that comes next.
    """

    directory: Path
    sent: int = 0
    synced: list[tuple[int, int]] = attrs.field(factory=list)  # of each process, from and to
    next: int = 0

    def run(self, wait_s: float | None, until: int | None = None) -> None:
        """Kill a process so long after its first sync of what is new, or after its start; None: let it end."""
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([opus_writer.__name__])
        ours, theirs = context.Pipe(duplex=False)
        arguments = (self.directory, self.next, theirs)
        process = context.Process(target=opus_writer.main, args=arguments, kwargs={"until": until})
        process.start()
        theirs.close()
        self.synced.append((max(0, self.next - opus_writer.REPEATED),) * 2)
        if wait_s is not None:
            while wait_s >= 0 and self.synced[-1][1] <= self.next:
                assert ours.poll(LIMIT_S)
                self.hear(*ours.recv())
            process.join(abs(wait_s))
            process.kill()
        process.join(LIMIT_S)
        assert process.exitcode == (0 if wait_s is None else -signal.SIGKILL)
        with contextlib.suppress(EOFError):
            while ours.poll():
                self.hear(*ours.recv())

    def hear(self, what: str, number: int) -> None:
        """Take one report of a process."""
        self.sent = max(self.sent, number)
        if what == "synced":
            self.synced[-1] = self.synced[-1][0], number

    def files(self) -> list[Path]:
        return sorted(self.directory.glob("*/*/audio/*.opus"))


def check(murder: Murder, path: Path) -> None:
    """As it lies there after a kill, without repair: what is whole is as was sent, and each packet in its slot."""
    user_id, raw = int(path.stem), path.read_bytes()
    pages = list(read_pages(raw))
    found = [each for page in pages[2:] for each in page.packets]
    assert found
    told = read_opus(path)
    assert told.problem is None or told.is_torn
    assert told.samples == pages[-1].granule == 960 * len(found)
    with soundfile.SoundFile(io.BytesIO(raw[: pages[-1].stop])) as sound:
        assert sound.frames == told.samples
    start = int(told.comments["RTMS_START_MS"]) - T
    assert start % 20 == 0
    for slot, each in enumerate(found, start // 20):
        assert each in {packet(user_id, slot), silence(1)} if speaks(user_id, slot) else each == silence(1)
    heard = {slot for slot, each in enumerate(found, start // 20) if each != silence(1)}
    must = {number for first, stop in murder.synced for number, who in said(first, stop) if who == user_id}
    assert must <= heard, sorted(must - heard)[:10]


def test_fifty_kills(tmp_path: Path) -> None:
    chance, murder = random.Random(7), Murder(tmp_path)
    for number in range(KILLS):
        murder.run(-chance.uniform(0, 0.05) if number % 7 == 6 else chance.uniform(0, 0.06))
        for path in murder.files():
            check(murder, path)
        murder.next = murder.sent + chance.choice([0, 1, 40])
    assert sum(stop > first for first, stop in murder.synced) > KILLS // 2
    assert murder.sent > 1000
    murder.run(None, until=murder.next + 100)
    assert [path.stem for path in murder.files()] == [str(user_id) for user_id in USERS]
    for path in murder.files():
        check(murder, path)
        assert soundfile.read(path)[0].shape == (read_opus(path).samples,)
    [directory] = tmp_path.glob("*/stream")
    assert verify(directory) == []
    assert missing(directory).missing_ms.keys() <= {"daemon_restart"}
