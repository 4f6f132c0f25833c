"""The configuration of a worker that is a member of a cluster: it has a disk of its own, as a member elsewhere has.

The first worker has all paths as the file names them, so that one process becomes several and nothing is lost.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from rtmsd.config.cluster import LEAST_GATHER_BYTES_PER_S, LEAST_SPOOL_BYTES
from rtmsd.config.model import AppConfig, Config

WORKERS: Final = "workers"
"""The directory below one of recordings in which the workers after the first have theirs, by number."""


def machine_of(node: str) -> str:
    """Return the `cluster.node` of a member's machine: the member's own, or what is before a worker's number."""
    return node.partition(".")[0]


def is_called(node: str, name: str) -> bool:
    """Whether a member has this name, or is a worker on the machine of this name."""
    return name in (node, machine_of(node))


def of_worker(config: Config, number: int, workers: int) -> Config:
    """Return what holds for worker `number`, from 1 on. What the file allows the machine is divided among all."""
    cluster, recording = config.cluster, config.recording
    assert cluster is not None, "other workers share a disk"
    own = _Worker(number, workers)
    return attrs.evolve(
        config,
        cluster=attrs.evolve(
            cluster,
            node=f"{cluster.node_name}.{number}",
            spool_bytes=own.share(cluster.spool_bytes, LEAST_SPOOL_BYTES),
            gather_bytes_per_s=own.share(cluster.gather_bytes_per_s, LEAST_GATHER_BYTES_PER_S),
        ),
        state=attrs.evolve(config.state, file=own.state_file(config.state.file)),
        recording=attrs.evolve(
            recording, **{key: own.value(key, getattr(recording, key)) for key in ("directory", "keep_bytes")}
        ),
        apps=tuple(own.app(app) for app in config.apps),
        sinks=tuple(attrs.evolve(sink, parallel=own.share(sink.parallel)) for sink in config.sinks),
    )


def of_each(config: Config) -> list[Config]:
    """Return what holds for each process that has a disk of its own."""
    workers = config.daemon.processes
    if config.cluster is None or workers == 1:
        return [config]
    return [of_worker(config, number, workers) for number in range(1, workers + 1)]


@attrs.frozen
class _Worker:
    number: int
    of: int

    def share(self, amount: int, least: int = 1) -> int:
        return max(least, amount // self.of)

    def state_file(self, file: Path) -> Path:
        return file.with_name(f"{file.name}.{self.number}") if self.number > 1 else file

    def directory(self, directory: Path) -> Path:
        return directory / WORKERS / str(self.number) if self.number > 1 else directory

    def value(self, key: str, value: Any) -> Any:
        """Return the value of a key of `[recording]`."""
        match key:
            case "directory":
                return self.directory(value)
            case "keep_bytes":
                return self.share(value) if value else 0  # which is no limit
        return value

    def app(self, app: AppConfig) -> AppConfig:
        values = tuple((key, self.value(key, value)) for key, value in app.recording.values)
        return attrs.evolve(app, recording=attrs.evolve(app.recording, values=values))


def left_behind(config: Config) -> list[str]:
    """Return a line for each worker that has files, by an earlier configuration, and is not started by this one."""
    workers = config.daemon.processes if config.cluster is not None else 1
    left: dict[int, list[Path]] = {}
    for number, path in sorted(_of_workers(config)):
        if number > workers:
            left.setdefault(number, []).append(path)
    return [
        f"daemon.workers: worker {number} is not started any more, and has left {' and '.join(map(str, paths))}: "
        "`rtmsctl recordings gather STREAM --from DIR DIR --to DIR` joins what it recorded with the parts of others; "
        "remove both when nothing there is needed"
        for number, paths in left.items()
    ]


def _of_workers(config: Config) -> Iterator[tuple[int, Path]]:
    """Yield state files and directories of workers after the first, with their numbers."""
    file = config.state.file
    found = [(path.suffix[1:], path) for path in file.parent.glob(f"{file.name}.*")]
    found += [(path.name, path) for directory in config.directories for path in (directory / WORKERS).glob("*")]
    return ((int(number), path) for number, path in found if number.isdecimal())
