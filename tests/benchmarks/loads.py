"""The loads of a benchmark: those of a quick and of a full run, and how long they take."""

from typing import Final

import attrs

PACED_MS: Final = {"audio": 20, "video": 200}  # five pictures a second: as many as Zoom sends as JPEG
STREAMS: Final = {"audio": (1, 20, 100, 500), "video": (1, 20, 100)}
GROWTH: Final = (10, 100, 500, 1000)
WORKERS: Final = 2


@attrs.frozen
class Load:
    """What is sent. `period_ms` 0 is a flood: as much as is taken. `workers`: of the daemon that is under it."""

    streams: int
    period_ms: int
    tls: bool = False
    media: str = "audio"
    seconds: float = 3.0
    workers: int = 1

    @property
    def name(self) -> str:
        pace = f"paced {self.period_ms} ms" if self.period_ms else "flood"
        workers = f", {self.workers} workers" if self.workers > 1 else ""
        return f"{pace}, {self.streams} {self.media}, {'TLS' if self.tls else 'plain'}{workers}"

    @property
    def starts_per_s(self) -> float:
        """How fast the streams are started before it: not as fast as can be, but hundreds would take minutes."""
        return 25.0 if self.streams <= 200 else 50.0

    def expected_s(self, peers: int) -> float:
        """About how long rtmsd and so many peers take under it, with starting and stopping."""
        rtmsd_s = 6 + 2 * self.seconds + self.streams * (1 / self.starts_per_s + 0.01)
        return rtmsd_s + peers * (5 + self.seconds + 0.01 * self.streams)


SHARED: Final = (Load(20, 0), Load(100, 20), Load(500, 20), Load(300, 20, tls=True))
"""The loads that `WORKERS` share, and one process carries for comparison."""


def plan(quick: bool, seconds: float) -> list[tuple[Load, bool]]:
    """The loads, and whether the peers are put under them, too."""
    return _quick(seconds or 1.5) if quick else _full(seconds or 4.0, seconds or 2.0)


def _quick(s: float) -> list[tuple[Load, bool]]:
    return [
        (Load(20, 0, seconds=s), True),
        (Load(20, 0, tls=True, seconds=s), False),
        (Load(100, 20, seconds=s), True),
        (Load(100, 20, tls=True, seconds=s), False),
        (Load(200, 20, seconds=s), False),
        (Load(1, 0, media="video", seconds=s), False),
        (Load(20, PACED_MS["video"], tls=True, media="video", seconds=s), False),
    ]


def _full(s: float, video_flood_s: float) -> list[tuple[Load, bool]]:
    """Every medium, pace, transport and number of streams, the goals' own first: time may run out.

    A flood of video is shorter, since it fills the disk.
    """
    loads = [
        Load(streams, period_ms, tls=tls, media=media, seconds=s if media == "audio" or period_ms else video_flood_s)
        for media, paced_ms in PACED_MS.items()
        for tls in (False, True)
        for period_ms in (0, paced_ms)
        for streams in STREAMS[media]
    ]
    loads.append(Load(50, 0, seconds=s))
    growth = [Load(streams, 20, seconds=s) for streams in GROWTH if streams not in STREAMS["audio"]]
    capacity = [
        Load(1500, 20, seconds=s),
        Load(900, 20, tls=True, seconds=s),
        Load(3000, 100, tls=True, seconds=s),
    ]
    workers = [attrs.evolve(load, seconds=s, workers=count) for load in SHARED for count in (1, WORKERS)]
    workers = [load for load in workers if load not in loads and load not in growth]
    return [(load, False) for load in growth + capacity + workers] + [(load, True) for load in loads]
