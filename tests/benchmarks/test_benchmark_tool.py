"""The benchmark's own bookkeeping: what it plans, what it reports, what it does about a peer that is not there."""

import base64
import socket
import subprocess
import sys
import threading
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest

from tests.benchmarks.bare import msgspec_alone
from tests.benchmarks.environment import PEERS, Environment, failure
from tests.benchmarks.figures import Figures, latest_answer_ms, percentile
from tests.benchmarks.frames import AUDIO_BYTES, VIDEO_BYTES, Frames, sent_ns
from tests.benchmarks.goals import GOALS, judged
from tests.benchmarks.loads import PACED_MS, STREAMS, Load, plan
from tests.benchmarks.pacing import Pace, late_ms, no_frames
from tests.benchmarks.pairs import Compared, Sample, compared
from tests.benchmarks.planned_trials import LIFE_TLS, RESTART, TRIALS
from tests.benchmarks.plot import bar_times, lines
from tests.benchmarks.posting import Poster, Webhook
from tests.benchmarks.profiles import shares
from tests.benchmarks.report import NOTES, table, to_json
from tests.benchmarks.results import Results
from tests.benchmarks.workers import clocks


def test_full_plan_puts_the_peers_under_every_medium_pace_transport_and_number_of_streams() -> None:
    planned = {(each.media, each.period_ms, each.tls, each.streams) for each, peers in plan(False, 0) if peers}
    for media, tls in product(PACED_MS, (False, True)):
        for streams in STREAMS[media]:
            assert {(media, 0, tls, streams), (media, PACED_MS[media], tls, streams)} <= planned


def test_one_round_of_the_full_plan_is_expected_within_an_hour_and_a_quick_one_within_minutes() -> None:
    def expected_s(quick: bool) -> float:
        trials_s = sum(trial.expected_s for trial in TRIALS if trial.is_quick or not quick)
        return trials_s + sum(load.expected_s(len(PEERS) if peers else 1) for load, peers in plan(quick, 0))

    assert expected_s(quick=True) < 400
    assert 2400 < expected_s(quick=False) < 3900


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


def test_a_goal_is_reached_missed_or_not_measured_and_says_by_how_much() -> None:
    def figures(**fields: Any) -> Figures:
        return Figures(**{"messages": 1, "cpu_us": 2.0, "lost": 0, **fields})

    results = Results(trials={LIFE_TLS: {"life_cpu_ms": 20.0}, RESTART: {"failed": "no streams"}})
    results.cell("rtmsd", Load(20, 0, seconds=1.0)).rounds.append(figures())
    results.cell("msgspec alone", Load(20, 0, seconds=1.0)).rounds.append(figures(cpu_us=0.5))
    for streams, cpu_us in ((10, 40.0), (100, 20.0), (500, 25.0), (1000, 24.0)):
        results.cell("rtmsd", Load(streams, 20)).rounds.append(figures(cpu_us=cpu_us, unsynced_ms=streams / 10))
    found = {each.name: each for each in judged(results)}
    assert len(found) == len(GOALS)

    def of(name: str) -> tuple[float | None, float | None, str]:
        return found[name].measured, found[name].times_better, found[name].verdict.value

    assert of("flood: messages per CPU-second") == (500_000, 1.25, "reached")
    assert of("flood: CPU of rtmsd / msgspec alone") == (4.0, 0.75, "missed")
    assert of("flood: CPU of Node ws / rtmsd") == (None, None, "not measured")
    assert of("flood: lost") == (0, None, "reached")
    assert of("a stream's life, TLS: CPU, ms") == (20.0, 0.5, "missed")
    assert of("restart: all back, less twice the bare handshakes, s") == (None, None, "not measured")
    assert of("CPU of a message: most growth from 10 to 1000 streams") == (1.25, 1.05 / 1.25, "missed")
    assert of("oldest unsynced byte under any load, ms") == (100.0, 5.0, "reached")
    assert " 500000 " in next(line for line in table(results).splitlines() if line.startswith("flood: messages"))


def test_loads_of_goals_are_in_the_full_plan() -> None:
    planned = {attrs.evolve(load, seconds=1.0) for load, _ in plan(False, 0)}
    asked: set[Load] = set()

    class Asked(Results):
        def value(self, client: str, load: Load, field: str) -> Any:
            asked.add(attrs.evolve(load, seconds=1.0))

    judged(Asked())
    assert asked <= planned
    assert len(asked) >= 10


@pytest.mark.parametrize(
    ("times_better", "verdict", "times"),
    [
        (2.0, "reached", 2.0),
        (0.01, "missed", 1 / 8),
        (None, "missed", 1 / 8),
        (None, "reached", 1.0),
        (99.0, "reached", 8),
    ],
)
def test_a_goal_in_the_plot_is_drawn_within_its_bounds(times_better: float | None, verdict: str, times: float) -> None:
    assert bar_times({"times_better": times_better, "verdict": verdict}) == times


def test_figures_of_pairs_are_compared_within_each_pair_and_one_that_is_missing_is_left_out() -> None:
    first: list[Sample] = [{"cpu": cpu, "gone": gone} for cpu, gone in ((10.0, None), (20.0, 1.0), (1.0, None))]
    second: list[Sample] = [{"cpu": cpu, "gone": gone} for cpu, gone in ((11.0, 1.0), (20.0, None), (3.0, None))]
    assert compared([*zip(first, second, strict=True)]) == [Compared("cpu", 10.0, 11.0, 1.0, 1.1, 1.05, 2.05)]


def test_every_payload_on_disk_is_found_by_its_clock_whatever_stands_between() -> None:
    frames = Frames("audio", 20)
    payloads = []
    for now_ns in (123_456_789, 123_456_790, 123_456_789):
        frames.stamp(now_ns)
        data = bytes(frames.buffer).partition(b'"data":"')[2].partition(b'"')[0]
        payloads.append(base64.b64decode(data))
    on_disk = bytes(44) + payloads[0] + payloads[1] + bytes(651) + payloads[2] + payloads[0][:300]
    assert [sent_ns(clock) for clock in clocks(on_disk)] == [123_456_789, 123_456_790, 123_456_789, 123_456_789]


def test_webhooks_are_posted_at_their_rate_and_one_without_an_answer_has_no_status() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for reply in (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b""):
                connection, _ = server.accept()
                with connection:
                    asked.append(connection.recv(1000))
                    connection.sendall(reply)

        asked: list[bytes] = []
        thread = threading.Thread(target=answer)
        thread.start()
        posted = Poster(server.getsockname()[1]).deliver([Webhook("a", b"first"), Webhook("b", b"second")], 100)
        thread.join()
    assert asked == [b"first", b"second"]
    assert [(each.stream, each.status) for each in posted] == [("a", 200), ("b", 0)]
    assert posted[1].posted_ns - posted[0].posted_ns >= 9_000_000


def test_a_message_decoded_alone_is_the_one_that_is_sent() -> None:
    for media, size in (("audio", AUDIO_BYTES), ("video", VIDEO_BYTES)):
        figures = msgspec_alone(media)
        assert figures.payload_mb_per_s == pytest.approx(size / figures.cpu_us)


def test_a_profile_has_shares_of_functions_alone_and_with_what_they_call() -> None:
    shown = shares(["main (a.py:3);f (b.py:5) 30", "main (a.py:4) 10"])
    alone, whole = shown.split("share by function, with what it calls")
    assert "75.0 %  f (b.py)" in alone
    assert "25.0 %  main (a.py)" in alone
    assert "100.0 %  main (a.py)" in whole


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
