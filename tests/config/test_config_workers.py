"""The configuration of a worker that is a member of a cluster."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmsd.config import (
    ClusterConfig,
    Config,
    RecordingConfig,
    StateConfig,
    is_called,
    left_behind,
    machine_of,
    of_worker,
)
from tests.config.files import APP, load_text

MAIN = APP.format(name="main")
CLUSTER = '[cluster]\nnode = "a"\nservers = ["tls://n1:4222"]\n'


def config_with(directory: Path, text: str = "", workers: int = 4) -> Config:
    files = (
        f'[recording]\ndirectory = "{directory}/rec"\nkeep_bytes = 1001\n[state]\nfile = "{directory}/state.sqlite"\n'
    )
    return load_text(directory, f"{MAIN}{text}{files}[daemon]\nworkers = {workers}\n{CLUSTER}")


def test_the_first_worker_has_what_one_process_had(tmp_path: Path) -> None:
    config = config_with(tmp_path, f'[app.recording]\ndirectory = "{tmp_path}/own"\n')
    first = of_worker(config, 1, 4)
    assert [*first.directories] == [*config.directories]
    assert first.state == config.state


def test_others_have_names_and_places_of_their_own(tmp_path: Path) -> None:
    config = config_with(tmp_path, f'[app.recording]\ndirectory = "{tmp_path}/own"\n')
    third = of_worker(config, 3, 4)
    assert third.cluster is not None
    assert third.cluster.node_name == "a.3"
    assert [*third.directories] == [tmp_path / "rec/workers/3", tmp_path / "own/workers/3"]
    assert third.directory_key(tmp_path / "own/workers/3") == "app[0].recording.directory"
    assert third.state.file == tmp_path / "state.sqlite.3"


def test_a_worker_is_called_by_its_own_name_and_its_machines(tmp_path: Path) -> None:
    third = of_worker(config_with(tmp_path), 3, 4).cluster
    assert third is not None
    assert machine_of(third.node_name) == machine_of("a") == "a"
    assert [name for name in ("a", "a.3", "a.1", "b", "a.") if is_called(third.node_name, name)] == ["a", "a.3"]


def test_limits_of_the_machine_are_divided(tmp_path: Path) -> None:
    sink = '[[sink]]\nname = "after"\nkind = "exec"\ncommand = ["true"]\nparallel = 9\n'
    config = config_with(tmp_path, f"[app.recording]\nkeep_bytes = 101\n{sink}")
    own = of_worker(config, 2, 4)
    assert own.recording.keep_bytes == 250
    assert own.of_app("main").recording.keep_bytes == 25
    assert own.sinks[0].parallel == 2
    assert own.cluster is not None
    assert (own.cluster.spool_bytes, own.cluster.gather_bytes_per_s) == (64 * 2**20, 5_000_000)
    assert own.cluster.capacity_streams == ClusterConfig().capacity_streams  # which is a member's


@given(
    keep_bytes=st.integers(0, 2**60),
    spool_bytes=st.integers(2**20, 2**40),
    rate=st.integers(2**18, 2**40),
    workers=st.integers(1, 256),
)
def test_no_limit_becomes_none_or_less_than_may_be_written(
    keep_bytes: int, spool_bytes: int, rate: int, workers: int
) -> None:
    config = Config(
        recording=RecordingConfig(keep_bytes=keep_bytes),
        cluster=ClusterConfig(node="a", spool_bytes=spool_bytes, gather_bytes_per_s=rate),
    )
    every = [of_worker(config, number, workers) for number in range(1, workers + 1)]
    for each in every:
        assert each.cluster is not None
        assert (each.recording.keep_bytes == 0) == (keep_bytes == 0)
        assert 2**20 <= each.cluster.spool_bytes <= spool_bytes
        assert 2**18 <= each.cluster.gather_bytes_per_s <= rate
    assert len({each.state.file for each in every}) == workers
    assert len({each.recording.directory for each in every}) == workers


@pytest.mark.parametrize(("workers", "left"), [(2, [3, 4]), (3, [4]), (4, [])])
def test_workers_that_are_not_started_any_more_are_named(tmp_path: Path, workers: int, left: list[int]) -> None:
    for number in (2, 3, 4):
        (tmp_path / f"rec/workers/{number}").mkdir(parents=True)
    for name in ("", ".3", ".3-wal", ".3.spool", ".workers", ".spool"):
        (tmp_path / f"state.sqlite{name}").touch()
    lines = left_behind(config_with(tmp_path, workers=workers))
    assert [line.partition(" is not started")[0] for line in lines] == [f"daemon.workers: worker {n}" for n in left]
    if 3 in left:
        assert f"{tmp_path}/rec/workers/3 and {tmp_path}/state.sqlite.3:" in lines[0]


def test_without_a_cluster_all_but_the_first_are_left(tmp_path: Path) -> None:
    (tmp_path / "workers/2").mkdir(parents=True)
    config = Config(recording=RecordingConfig(directory=tmp_path), state=StateConfig(file=tmp_path / "state"))
    [line] = left_behind(config)
    assert "recordings gather STREAM --from DIR DIR --to DIR" in line
