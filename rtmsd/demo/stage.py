"""The stage of the demo: its directories, its pace, and the daemon's configuration."""

import json
from pathlib import Path
from typing import Final

import attrs

from rtmsd.simulator import SimulatorSettings, Timing

HOST: Final = "127.0.0.1"


@attrs.frozen(kw_only=True)
class Pace:
    """The pace of Zoom's time beside local time.

    Attributes:
        speed: Zoom's seconds in one local second.
        sync_interval_s: of the recording, in local seconds: what a killed daemon may lose.
    """

    speed: float
    timing: Timing
    sync_interval_s: float

    @property
    def late_ms(self) -> int:
        """Return how far, in Zoom's time, the daemon may lag behind on a busy machine: one local second."""
        return int(self.speed * 1000)


CALM: Final = Pace(speed=1.0, timing=Timing(), sync_interval_s=0.5)

# The start of a process and the stalls of a busy machine cannot be compressed: Zoom's windows are as long in local time
# as at normal speed, which in its own seconds is much more.
FAST: Final = Pace(
    speed=24.0,
    timing=Timing(
        signaling_window_s=1440, media_window_s=1440, attach_window_s=1440, buffer_s=1440, keep_alive_misses=24
    ),
    sync_interval_s=0.1,
)


@attrs.frozen
class Stage:
    """The directories of a run. The user keeps `directory`; `run` holds the admin socket, whose path must be short."""

    directory: Path
    run: Path

    @property
    def config(self) -> Path:
        return self.directory / "config.toml"

    @property
    def log(self) -> Path:
        return self.directory / "daemon.log"

    @property
    def ca(self) -> Path:
        return self.directory / "ca.pem"

    @property
    def recordings(self) -> Path:
        return self.directory / "recordings"

    @property
    def admin_socket(self) -> Path:
        return self.run / "admin.sock"

    def part(self, name: str) -> "Stage":
        """Return the stage of one of several daemons, within this one."""
        part = Stage(self.directory / name, self.run / name)
        for directory in (part.directory, part.run):
            directory.mkdir()
        return part

    def write_config(
        self, zoom: SimulatorSettings, pace: Pace, sections: str = "", *, listen: str = f"{HOST}:0"
    ) -> None:
        """Write the daemon's configuration: the differences from the defaults, and why.

        The secrets are valid for this simulator only; the file still has the mode that a real one should have.

        Args:
            sections: further ones, as TOML.
            listen: for webhooks. By default the demo passes a socket in its place, as systemd does.
        """
        quoted = json.dumps  # a JSON string is a TOML string
        text = f"""\
# Written by `rtmsd demo`.
[webhook]
listen = {quoted(listen)}

[[app]]
name = "demo"
client_id = {quoted(zoom.client_id)}
client_secret = {{ value = {quoted(zoom.client_secret)} }}
webhook_secret = {{ value = {quoted(zoom.webhook_secret)} }}

[zoom]
allowed_hosts = ["{HOST}"]           # where the simulated Zoom is
ca_file = {quoted(str(self.ca))}

[streams]                            # local seconds: each is {pace.speed:g} of Zoom's
reconnect_delay_s = {max(0.05, 3 / pace.speed):.3f}
reconnect_delay_max_s = {max(0.5, 30 / pace.speed):.3f}
keep_alive_timeout_s = {max(10.0, 65 / pace.speed):.3f}

[recording]
directory = {quoted(str(self.recordings))}
sync_interval_s = {pace.sync_interval_s:g}
min_free_bytes = 0                   # the demo has checked, and needs little

[state]
file = {quoted(str(self.directory / "state.sqlite"))}

[admin]
socket = {quoted(str(self.admin_socket))}

[log]
format = "json"
{sections}"""
        self.config.touch(mode=0o600)
        self.config.chmod(0o600)
        self.config.write_text(text)
