"""A process as a member of a cluster on several machines: what `[cluster]` starts.

`membership` connects its streams with those of the others, by `rtmsd.cluster`; `daemon` is the `daemon.process.Role`.
"""

from pathlib import Path

from rtmsd.config import Config
from rtmsd.daemon import prepare, run_prepared, warn

__all__ = ["run"]


def run(config_path: Path, config: Config, *, end_streams: bool = False) -> int:
    """Run the daemon as a member, until a signal ends it. Returns the exit status of the contract."""
    from rtmsd.node.daemon import MemberDaemon  # noqa: PLC0415

    prepare(config)
    warn(config)
    return run_prepared(MemberDaemon(config_path, config, end_streams=end_streams))
