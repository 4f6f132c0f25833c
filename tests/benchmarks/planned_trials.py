"""The trials of a run: their names, and which of them a quick run leaves out."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import attrs

from tests.benchmarks import joins, trials, workers
from tests.benchmarks.measure import Certificates

ALONE: Final = "webhook to ready, alone"
JOINING_PLAIN: Final = "joining: 250 starts/s beside 500 streams, plain"
JOINING_TLS: Final = "joining: 100 starts/s beside 500 streams, TLS"
LIFE_PLAIN: Final = "a stream's life, plain"
LIFE_TLS: Final = "a stream's life, TLS"
CODECS: Final = "Opus beside L16, flood, stored"
OPUS_WRITER: Final = "Opus writer alone"
LIFE_WORKERS: Final = "a stream's life, plain, 2 workers"
KILLED_WORKER: Final = "SIGKILL of one of 2 workers with 200 streams"
WEBHOOKS_ELSEWHERE: Final = "webhooks to the other of 2 workers beside 100 streams"
RESTART: Final = "restart: SIGKILL with 500 streams, TLS"

_Trial: TypeAlias = Callable[[Certificates], dict[str, Any]]


@attrs.frozen
class PlannedTrial:
    name: str
    run: _Trial
    expected_s: float
    is_quick: bool = True


TRIALS: Final = (
    PlannedTrial(ALONE, joins.alone, 10),
    PlannedTrial(LIFE_PLAIN, lambda each: joins.life(each, tls=False), 15),
    PlannedTrial(LIFE_TLS, lambda each: joins.life(each, tls=True), 17),
    PlannedTrial(LIFE_WORKERS, workers.life, 15, is_quick=False),
    PlannedTrial(KILLED_WORKER, workers.killed_worker, 25, is_quick=False),
    PlannedTrial(WEBHOOKS_ELSEWHERE, workers.webhooks_elsewhere, 25, is_quick=False),
    PlannedTrial(JOINING_PLAIN, lambda each: joins.joining(each, 250, tls=False), 40, is_quick=False),
    PlannedTrial(JOINING_TLS, lambda each: joins.joining(each, 100, tls=True), 45, is_quick=False),
    PlannedTrial(RESTART, joins.restart, 40, is_quick=False),
    PlannedTrial(OPUS_WRITER, trials.opus_writer, 1),
    PlannedTrial(CODECS, lambda each: trials.codecs(each, 1.5), 40),
    PlannedTrial("fairness: 1 flood beside 99 paced", lambda each: trials.fairness(each, 4.0), 15),
    PlannedTrial("disk stalled for 2 s at 200 paced", lambda each: trials.stalled_disk(each, 200), 22),
    PlannedTrial("100 webhooks/s alone", lambda each: trials.webhooks(each, 0, 2.0), 8),
    PlannedTrial("100 webhooks/s beside 200 streams", lambda each: trials.webhooks(each, 200, 2.0), 20),
    PlannedTrial(
        "overload: 300 webhooks/s beside 100 streams", lambda each: trials.webhooks(each, 100, 2.0, 300.0), 15
    ),
)
