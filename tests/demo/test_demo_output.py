"""The demo writing into a closed pipe."""

import os
import subprocess
import sys
from pathlib import Path

LIMIT_S = 300  # far more than it takes: this machine may be busy


def test_a_closed_pipe_ends_the_demo_quietly(tmp_path: Path) -> None:
    """As `rtmsd demo | head -1` does. The files' place was never printed, so none are left."""
    command = [sys.executable, "-m", "rtmsd", "demo", "--fast"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as demo:
        assert demo.stdout is not None
        assert "The daemon is up" in demo.stdout.readline()
        demo.stdout.close()
        assert demo.stderr is not None
        assert demo.stderr.read() == ""
        assert demo.wait(LIMIT_S) == 0
    assert list(tmp_path.iterdir()) == []
