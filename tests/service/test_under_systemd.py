"""The daemon under a real service manager, where there is one: started by its sockets, reloaded, killed."""

import re
import sys
from pathlib import Path

from tests.service.installation import Installation, until
from tests.service.test_socket_activation import Sender, all_accepted_are_known
from tests.systemd.manager import open_manager


def test_the_life_of_a_service(daemon: Installation, place: Path) -> None:
    (place / "units").mkdir()
    daemon.sections["admin"]["socket"] = str(place / "units/admin.sock")
    daemon.write_config()
    start = f"{sys.executable} -m rtmsd run --config {daemon.config_file}"
    reload = " ".join(daemon.ctl_command("reload"))
    with open_manager(place / "units", start, reload) as manager:
        manager.systemctl("start", "rtmsd-webhook.socket", "rtmsd-admin.socket")
        assert manager.systemctl("is-active", "rtmsd.service") == "inactive"
        with Sender(f"http://127.0.0.1:{manager.port}/webhook") as sender:
            sender.wait_for_more(3)
            assert re.match(r"\d+ streams?, \d+ bytes to write", manager.shown("StatusText")["StatusText"])
            assert daemon.status()["listening"]["webhook"] == [f"127.0.0.1:{manager.port}"]
            assert sender.failures == []

            first_pid = manager.shown("MainPID")
            manager.systemctl("restart", "rtmsd.service")
            sender.wait_for_more(3)
            assert sender.failures == []  # they waited in the kernel
            assert manager.shown("MainPID") != first_pid

            manager.systemctl("stop", "rtmsd.service")  # the next post starts it again
            sender.wait_for_more(3)
            assert sender.failures == []

            manager.systemctl("kill", "--signal=KILL", "rtmsd.service")
            until(lambda: manager.shown("NRestarts")["NRestarts"] == "1")
            sender.wait_for_more(3)
            assert len(sender.failures) <= 1

            daemon.sections["streams"]["drain_s"] = 3
            daemon.write_config()
            assert manager.systemctl("reload", "rtmsd.service") == ""
            assert daemon.asked("config", "show")["streams"]["drain_s"] == 3
        all_accepted_are_known(daemon, sender)
        shown = manager.shown("ActiveState", "Result", "NRestarts")
        assert shown == {"ActiveState": "active", "Result": "success", "NRestarts": "1"}
        manager.systemctl("stop", "rtmsd-webhook.socket", "rtmsd-admin.socket", "rtmsd.service")
        assert manager.shown("ActiveState", "ExecMainStatus") == {"ActiveState": "inactive", "ExecMainStatus": "0"}
