"""Parent and workers as processes: started, killed, frozen, reloaded and stopped by real signals."""

import fcntl
import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.service.installation import Installation, NotifySocket, until, zoom_for
from tests.workers.house import House, is_alive

UNHURRIED_S = 600.0  # for programs and streams at a stop: whoever waits for a limit of rtmsd's waits for too long


def test_ready_when_all_workers_are_and_stopped_when_none_is_left(house: House, manager: NotifySocket) -> None:
    house.spawn()
    assert manager.wait("READY") == "1"
    assert set(house.workers()) == {"1", "2"}
    assert manager.having("STATUS")[0][1] == "2 of 2 workers, 0 streams, 0 bytes to write"
    [listening] = house.logged("webhook listening")
    for _ in range(6):  # whichever worker answers
        status = house.status()
        assert status["phase"] == "serving"
        assert status["listening"]["webhook"] == [listening["address"]]
        assert status["listening"]["admin"] == [house.admin_socket]
        assert len(status["listening"]["metrics"]) == 1
    with zoom_for(house) as zoom:
        assert zoom.wait(zoom.sim.validate_endpoint)
    pids = house.workers().values()
    assert house.stop() == 0
    assert not any(map(is_alive, pids))
    assert int(manager.wait("EXTEND_TIMEOUT_USEC")) >= 16_000_000
    said = [name for _, fields in manager.messages for name in fields if name not in {"STATUS", "WATCHDOG"}]
    assert said == ["READY", "STOPPING", "EXTEND_TIMEOUT_USEC"]
    assert house.logged("stopped", workers=2, clean=True)
    assert not Path(house.admin_socket).exists()
    assert not house.crashes()


def test_what_cannot_be_had_is_the_parents_to_say(house: House, manager: NotifySocket) -> None:
    house.sections["webhook"]["listen"] = "192.0.2.1:80"  # nobody's
    house.spawn()
    assert house.wait() == 1
    assert not manager.having("READY")
    [line] = house.logged("cannot run")
    assert line["errors"][0].startswith("webhook.listen: cannot listen on 192.0.2.1:80")
    assert not house.logged("worker serves")


def test_a_killed_worker_is_started_again(house: House) -> None:
    house.start()
    before = house.kill_worker("2")
    after = house.until_again("2", before)
    assert is_alive(after)
    assert not is_alive(before)
    [died] = house.logged("worker died; it is started again")
    assert (died["worker"], died["why"], died["again_s"]) == ("2", "signal SIGKILL", 0.2)
    until(lambda: house.logged("another worker died", worker="1"))
    assert house.stop() == 0
    assert not house.crashes()


def test_a_worker_that_is_told_to_stop_ends_well_and_another_one_begins(house: House) -> None:
    house.start()
    before = house.kill_worker("1", signal.SIGTERM)
    house.until_again("1", before)
    [died] = house.logged("worker died; it is started again")
    assert died["why"] == "exit status 0"
    assert house.stop() == 0


def test_a_frozen_worker_is_killed_and_the_watchdog_is_fed_all_the_while(house: House, manager: NotifySocket) -> None:
    limit_s = 6.0
    house.environment["WATCHDOG_USEC"] = str(int(limit_s * 1e6))
    house.start()
    before = house.kill_worker("1", signal.SIGSTOP)
    house.until_again("1", before)
    [killed] = house.logged("worker killed")
    assert (killed["worker"], killed["pid"], killed["why"]) == ("1", before, "it hangs: no answer for 6 s")
    assert not is_alive(before)
    assert [line["worker"] for line in house.logged("worker died; it is started again")] == ["1"]
    seen = len(manager.having("WATCHDOG"))
    until(lambda: len(manager.having("WATCHDOG")) > seen)
    assert house.stop() == 0


def test_workers_do_not_outlive_their_parent(house: House) -> None:
    house.sections["streams"]["drain_s"] = UNHURRIED_S
    house.start()
    pids = house.workers()
    house.signal(signal.SIGKILL)
    house.wait()
    until(lambda: not any(map(is_alive, pids.values())))
    for worker in pids:
        assert house.logged("parent is gone; stopping, streams are left to be resumed", worker=worker)
    house.start()
    assert house.stop() == 0
    assert not house.crashes()


def test_no_second_daemon_starts_while_a_worker_of_the_first_lives(house: House, place: Path) -> None:
    house.sections["streams"]["drain_s"] = UNHURRIED_S
    house.start()
    frozen = house.kill_worker("2", signal.SIGSTOP)
    other = Installation(place)
    other.sections = {name: dict(section) for name, section in house.sections.items()}
    other.log_file = place / "other"
    other.sections["daemon"] = {"workers": 1}

    def assert_kept_out_by(holder: int) -> None:
        other.spawn()
        assert other.wait() == 1
        [error] = other.logged("cannot run")[-1]["errors"]
        assert f"is in use by another rtmsd, process {holder}" in error

    assert_kept_out_by(house.parent)
    house.signal(signal.SIGKILL)
    house.wait()
    until(lambda: not is_alive(house.workers()["1"]))
    assert_kept_out_by(frozen)
    os.kill(frozen, signal.SIGCONT)
    until(lambda: not is_alive(frozen))
    other.start()
    assert other.stop() == 0


def test_a_reload_is_for_all_or_for_none(house: House, manager: NotifySocket) -> None:
    house.start()
    for number, drain_s in enumerate((3, -3), start=1):
        house.sections["streams"]["drain_s"] = drain_s
        house.write_config()
        house.signal(signal.SIGHUP)
        manager.wait("READY", number + 1)
        assert len(manager.having("RELOADING")) == number
        for _ in range(6):  # whichever worker answers
            assert house.asked("config", "show")["streams"]["drain_s"] == 3
    [refusal] = house.logged("reload refused; nothing changed")
    assert "streams.drain_s" in json.dumps(refusal)
    reloaded = house.logged("configuration reloaded")
    assert sorted(line.get("worker", "") for line in reloaded) == ["", "1", "2"]
    before = house.kill_worker("1")
    house.until_again("1", before)
    for _ in range(6):  # who was started since has what is in force, not what stands in the file
        assert house.asked("config", "show")["streams"]["drain_s"] == 3
    assert house.stop() == 0


def test_a_change_that_needs_a_restart_is_reported_once(house: House, manager: NotifySocket) -> None:
    house.start()
    for number in (2, 3):
        house.sections["daemon"]["workers"] = 2 + number
        house.write_config()
        house.signal(signal.SIGHUP)
        manager.wait("READY", number)
    assert [line["needs_restart"] for line in house.logged("configuration reloaded")] == [["daemon.workers"]] * 2
    assert house.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_leaves_no_time_to_who_hangs(house: House, number: signal.Signals) -> None:
    house.sections["streams"]["drain_s"] = UNHURRIED_S
    house.start()
    pids = house.workers().values()
    frozen = house.kill_worker("2", signal.SIGSTOP)
    house.signal(number)
    until(lambda: house.logged("stopped", worker="1"))
    house.signal(number)
    assert house.wait() == 1
    assert not any(map(is_alive, pids))
    [killed] = house.logged("worker killed")
    assert (killed["pid"], killed["why"]) == (frozen, "it did not stop in time")


def test_a_worker_that_dies_again_and_again_is_started_ever_more_slowly(house: House, place: Path) -> None:
    lives = place / "state.sqlite.workers"
    lives.mkdir()
    with (lives / "1").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as if an earlier life were not over
        house.spawn()
        until(lambda: len(house.logged("worker died; it is started again", worker="1")) >= 4)
    delays_s = [line["again_s"] for line in house.logged("worker died; it is started again", worker="1")]
    assert delays_s[:4] == [0.2, 0.4, 0.8, 1.6]
    until(lambda: house.logged("ready"))
    [error] = house.logged("cannot run", worker="1")[0]["errors"]
    assert error == f"{lives}/1: an earlier life of worker 1 is not over"
    assert not house.logged("worker died; it is started again", worker="2")
    assert house.stop() == 0


def test_sockets_of_the_service_manager_are_passed_on_to_all_workers(house: House, place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as webhook, socket.socket(socket.AF_UNIX) as admin:
        admin.bind(house.admin_socket)
        admin.listen()
        house.environment |= {"LISTEN_FDS": "2", "LISTEN_FDNAMES": "webhook:admin"}
        house.start(sockets=[webhook.fileno(), admin.fileno()])
        address = f"127.0.0.1:{webhook.getsockname()[1]}"
        for number in ("1", "2"):
            before = house.kill_worker(number)
            house.until_again(number, before)
        assert house.status()["listening"]["webhook"] == [address]
        with zoom_for(house) as zoom:
            assert zoom.wait(zoom.sim.validate_endpoint)
        assert house.stop() == 0
        assert Path(house.admin_socket).is_socket()  # it is the service manager's
        assert {path.name for path in place.glob("admin.sock*")} == {"admin.sock"}


def test_operators_reach_all_workers(house: House) -> None:
    house.start()
    house.ctl("drain")
    until(lambda: all(house.status()["draining"] for _ in range(6)))
    before = house.kill_worker("1")
    house.until_again("1", before)
    assert all(house.status()["draining"] for _ in range(6))
    house.ctl("undrain")
    until(lambda: not any(house.status()["draining"] for _ in range(6)))
    assert house.ctl("shutdown").code == 0
    assert house.wait() == 0


def test_what_one_worker_alone_heard_gives_way_to_what_the_parent_ordered(house: House) -> None:
    house.start()
    alone = f"{house.admin_socket}.worker-1"
    assert house.ctl("--socket", alone, "drain").code == 0
    assert house.logged("admin command", worker="1", command="drain")
    until(lambda: [worker.get("draining") for worker in house.status()["workers"]] == [False, False])
    assert house.stop() == 0
