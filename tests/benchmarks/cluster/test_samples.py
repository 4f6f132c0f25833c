"""The bookkeeping of faults: what never came is a miss, and so is what came too late."""

import math
from pathlib import Path

from tests.benchmarks.cluster.faults import FAULTS
from tests.benchmarks.cluster.samples import WRONG, Bound, Sample, read_samples, rows


def test_what_never_came_is_the_worst_and_missed(tmp_path: Path) -> None:
    file = tmp_path / "benchmark" / "samples.jsonl"
    samples = [
        Sample("kill", "refuse", {"media up": [0.2, 0.4], "claimed": [0.1]}),
        Sample("kill", "refuse", {"media up": [1.5, None], "claimed": []}),
        Sample("kill", "evict", {"media up": [0.3]}),
    ]
    for sample in samples:
        sample.append_to(file)
    assert read_samples(file) == samples
    media, claimed, evict = rows(read_samples(file), {"kill": {"media up": Bound(1.0)}})
    assert (media.count, media.worst, media.missed, media.holds) == (4, math.inf, 2, False)
    assert " never " in str(media)
    assert (claimed.count, claimed.median, claimed.bound, claimed.holds) == (1, 0.1, None, True)
    assert (evict.zoom, evict.count, evict.missed, evict.holds) == ("evict", 1, 0, True)


def test_of_a_bound_for_99_of_100_one_may_be_missed() -> None:
    def is_held(late: int) -> bool:
        sample = Sample("webhooks", "refuse", {"answered": [0.01] * (100 - late) + [0.2] * late})
        [row] = rows([sample], {"webhooks": {"answered": Bound(0.1, 99)}})
        return row.holds

    assert [is_held(late) for late in range(3)] == [True, True, False]


def test_nothing_may_go_wrong_in_any_fault() -> None:
    assert all(fault.bounds[WRONG] == Bound(0) for fault in FAULTS.values())
