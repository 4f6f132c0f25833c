"""The plan of a repair is applied once, and deletes nothing that somebody may still want to read."""

import errno
from pathlib import Path

import pytest

from rtmsd.recording.disk.filesystem import Disk
from rtmsd.recording.manifest.schema import FileEntry
from rtmsd.recording.media.wav.header import PcmFormat, WavHeader
from rtmsd.recording.recovery.plan import RepairPlan
from rtmsd.recording.recovery.repair_files import cut_torn, header_of
from rtmsd.recording.timeline.gaps import Gap, Gaps


class RefusingOnce(Disk):
    def __init__(self) -> None:
        super().__init__()
        self.refusals = 1

    def replace(self, path: Path, content: bytes) -> None:
        if self.refusals:
            self.refusals -= 1
            raise OSError(errno.ENOSPC, "full")
        super().replace(path, content)


def test_a_file_set_aside_stays_when_the_rest_is_applied_later(tmp_path: Path) -> None:
    path, disk = tmp_path / "stream.json", RefusingOnce()
    path.write_text("damaged")
    plan = RepairPlan(tmp_path)
    plan.set_aside(path)
    plan.replace(path, b"{}")
    with pytest.raises(OSError, match="full"):
        plan.apply(disk)
    path.write_text("ours")  # meanwhile
    plan.apply(disk)
    assert (tmp_path / "stream.json.damaged").read_text() == "damaged"
    assert path.read_text() == "{}"


def test_a_file_set_aside_earlier_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "stream.json"
    (tmp_path / "stream.json.damaged").write_text("earlier")
    path.write_text("damaged")
    plan = RepairPlan(tmp_path)
    plan.set_aside(path)
    plan.apply(Disk())
    assert (tmp_path / "stream.json.damaged").read_text() == "earlier"
    assert (tmp_path / "stream.json.damaged-2").read_text() == "damaged"


@pytest.mark.parametrize("torn", [b"", b'{"a"', b"\0\0\0", b"\0\0\n", b'\0\0\n{"x":\0\n\0'])
def test_zeros_that_a_power_failure_left_are_cut_off(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"whole":1}\n' + torn)
    plan = RepairPlan(tmp_path)
    cut_torn(plan, path)
    plan.apply(Disk())
    assert path.read_bytes() == b'{"whole":1}\n'


def test_gaps_that_are_all_of_another_kind_come_to_an_end() -> None:
    gaps = Gaps()
    for number in range(4000):
        gaps.missing(Gap(f"media-{number}", None, number, number + 1, "dropped"))


def test_a_header_of_a_time_that_no_stream_can_be_of_is_not_believed() -> None:
    start_ms = 1_790_000_000_000
    header = WavHeader(pcm=PcmFormat(16_000, 1), start_ms=start_ms, stream_started_ms=start_ms, owner=5)
    raw = bytearray(header.encode(44))
    entry = FileEntry("audio/5.wav", "audio", 5, start_ms, 0, 44, rate_hz=16_000, channels=1)
    assert header_of(bytes(raw), "5", entry, start_ms) == header
    raw[400] = 1  # a high byte of the samples since midnight
    assert WavHeader.decode(bytes(raw)).start_ms > 10**13
    assert header_of(bytes(raw), "5", entry, start_ms) == header
