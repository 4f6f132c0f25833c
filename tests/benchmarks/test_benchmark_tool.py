"""The benchmark's own bookkeeping: what it plans, what it reports, what it does about a peer that is not there."""

import base64
import subprocess
import sys
from itertools import product
from pathlib import Path
from unittest import mock

import pytest

from tests.benchmarks.environment import PEERS, Environment, failure
from tests.benchmarks.figures import Figures, latest_answer_ms, percentile
from tests.benchmarks.frames import Frames, sent_ns
from tests.benchmarks.loads import PACED_MS, STREAMS, Load, plan
from tests.benchmarks.pacing import Pace, late_ms, no_frames
from tests.benchmarks.plot import lines
from tests.benchmarks.report import NOTES, table, to_json
from tests.benchmarks.results import Results


def test_full_plan_puts_the_peers_under_every_medium_pace_transport_and_number_of_streams() -> None:
    planned = {(each.media, each.period_ms, each.tls, each.streams) for each, peers in plan(False, 0) if peers}
    for media, tls in product(PACED_MS, (False, True)):
        for streams in STREAMS[media]:
            assert {(media, 0, tls, streams), (media, PACED_MS[media], tls, streams)} <= planned


def test_one_round_of_the_full_plan_is_expected_within_an_hour_and_a_quick_one_within_minutes() -> None:
    def expected_s(quick: bool) -> float:
        return sum(load.expected_s(len(PEERS) if peers else 1) for load, peers in plan(quick, 0))

    assert expected_s(quick=True) < 300 < expected_s(quick=False) < 3600


@pytest.mark.parametrize("stderr", ["", " \n\t\n"])
def test_a_command_that_fails_without_output_is_described_by_its_exit_code(stderr: str) -> None:
    command = [sys.executable, "-c", f"import sys; sys.stderr.write({stderr!r}); sys.exit(3)"]
    assert failure(command) == "exit code 3, without a word"


def test_a_failed_command_is_described_by_its_last_line_and_a_good_one_by_nothing() -> None:
    assert failure([sys.executable, "-c", "import sys; sys.exit('first\\nno such package\\n')"]) == "no such package"
    assert failure([sys.executable, "-c", ""]) == ""
    assert "absent-command" in failure(["absent-command"])


def test_without_a_virtual_environment_its_peers_are_missing_and_the_run_goes_on(tmp_path: Path) -> None:
    environment = Environment(tmp_path)

    def fail(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]} fails")

    with mock.patch.object(subprocess, "run", fail):
        environment.prepare()
    assert set(environment.missing) == {peer.name for peer in PEERS if peer.where != "here"}
    assert "virtual environment" in environment.missing["aiohttp"]
    assert environment.missing["Node ws"] == "not installed: npm fails"


def test_the_table_shows_both_forms_of_cpu_time_and_why_a_figure_is_not_there() -> None:
    results = Results(left_out=["flood, 20 audio, plain, round 3"])
    results.cell("rtmsd", Load(20, 0)).rounds.append(Figures(messages=1000, cpu_us=8.0, lost=0, keep_alive_ms=12.0))
    results.cell("aiohttp", Load(20, 0)).rounds.append(Figures(messages=1000, cpu_us=16.0, lost=0))
    shown = table(results)
    heads, rtmsd, aiohttp = (line.split() for line in shown.splitlines()[2:5])
    assert "msg/CPU-s" in heads
    assert rtmsd[1:4] == ["1", "125000", "8.0"]
    assert aiohttp[1:4] == ["1", "62500", "16.0"]
    assert aiohttp[-1] == "2.00"
    assert all(note in shown for note in NOTES)
    assert "left out for want of time: flood, 20 audio, plain, round 3" in shown
    assert to_json(results)["cells"][0]["rounds"][0]["messages_per_cpu_s"] == 125000


def test_points_of_the_plot_are_by_medium_and_pace() -> None:
    results = Results()
    for streams, cpu_us in ((1, 3.0), (1, 5.0), (20, 7.0)):
        rounds = results.cell("rtmsd", Load(streams, 200, tls=True, media="video")).rounds
        rounds.append(Figures(messages=1, cpu_us=cpu_us, lost=0))
    cells = to_json(results)["cells"]
    assert lines(cells, "cpu_us", "video", 200) == {"rtmsd, TLS": [(1, 4.0), (20, 7.0)]}
    assert lines(cells, "cpu_us", "video", 0) == {} == lines(cells, "p99_ms", "video", 200)


def test_an_unanswered_keep_alive_counts_by_its_age_and_none_asked_is_no_figure() -> None:
    assert latest_answer_ms({"keep_alive_ms": [3.0, 8.0], "keep_alives_waiting_ms": [400.0]}) == 400.0
    assert latest_answer_ms({"keep_alive_ms": [], "keep_alives_waiting_ms": []}) is None
    assert percentile([], 99) is None
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0


@pytest.mark.parametrize("media", PACED_MS)
def test_the_first_frame_of_a_flood_shows_when_it_was_sent(media: str) -> None:
    frames = Frames.for_flood(media)
    frames.advance()
    frames.stamp(123_456_789)
    datas = [part[:12] for part in bytes(frames.buffer).split(b'"data":"')[1:]]
    assert [sent_ns(base64.b64decode(data)) for data in datas] == [123_456_789] + [0] * (frames.count - 1)


def test_the_lateness_of_the_sender_is_known_by_percentile() -> None:
    counts = no_frames()
    assert late_ms(counts, 99) is None
    counts[0], counts[7], counts[300] = 980, 19, 1
    assert (late_ms(counts, 50), late_ms(counts, 99), late_ms(counts, 100)) == (0.0, 0.7, 30.0)


def test_paced_streams_take_turns_and_one_that_does_not_read_is_skipped_and_keeps_its_time() -> None:
    sent: list[tuple[str, int]] = []
    next_ms = dict.fromkeys(("a", "b"), 1_790_000_000_000)

    def connection(name: str, queued_bytes: int) -> mock.Mock:
        def write(data: memoryview) -> None:
            sent.append((name, int(bytes(data).partition(b'"timestamp":')[2][:13])))

        return mock.Mock(queued_bytes=queued_bytes, sent_messages=0, skipped_messages=0, write=write)

    media = {"a": connection("a", 0), "b": connection("b", 2000)}
    pace = Pace(Frames("audio", 20), ["a", "b", "away"], next_ms, 0, no_frames())
    pace.send_due(39_999_999, media, 1000, mock.Mock())
    assert sent == [("a", 1_790_000_000_000), ("a", 1_790_000_000_020)]
    assert (media["a"].sent_messages, media["b"].skipped_messages) == (2, 2)
    assert next_ms == {"a": 1_790_000_000_040, "b": 1_790_000_000_000}
    assert pace.due_ns == 40_000_000
