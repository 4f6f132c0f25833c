"""All cores of one machine: a parent that owns no stream, and workers that are members of each other's cluster.

Theory of operation
-------------------
The **parent** opens and locks what a daemon has one of: state file, directories of recordings, listening sockets. It
starts the workers as fresh interpreters that inherit the descriptors of all that, speaks for all to the service
manager, prunes, tidies and delivers. It owns no stream and reads no media: it has nothing to crash from.

A **worker** is a `daemon.process.Process`, as the only process of a small daemon is; its `Role` differs. All workers
accept on the same sockets. Which of them has a stream is settled in the state file (`rtmsd.cluster`), and what comes to
another is passed on over the workers' own sockets, without the parent. A worker opens its doors when all are there and
have taken their share of what an earlier daemon left: the first to be ready would have all of it.

Between the two lies a **channel**: a pair of sockets, one line of JSON a message (`messages`). The parent says who
lives and who died, the worker that it is there. Its end is how a worker learns that the parent died, however that came
about: it suspends its streams and exits. So no process of a daemon outlives the others, and no second daemon can start
while one of them does: the locks are inherited, too.

What an operator orders (`drain`, `reload`, `shutdown`) reaches whichever worker accepts the client. The parent hears of
it, and has all do it: also workers that were frozen meanwhile, or start later.

A worker that dies is started again, with a delay that grows while it goes on dying; the others have taken over its
streams by then. One that hangs is killed, and then has died like any other.
"""

from pathlib import Path

from rtmsd.config import Config
from rtmsd.daemon import prepare, run_prepared, warn

__all__ = ["run", "run_worker"]


def run(config_path: Path, config: Config, *, end_streams: bool = False) -> int:
    """Run the parent until a signal ends it. Returns the exit status of the contract."""
    from rtmsd.workers.parent import Parent  # noqa: PLC0415 - a worker has none

    prepare(config)
    warn(config)
    return run_prepared(Parent(config_path, config, end_streams=end_streams))


def run_worker(channel: int) -> int:
    """Run a worker until its parent ends it. Returns its exit status.

    Args:
        channel: descriptor of its end of the channel to the parent.
    """
    from rtmsd.workers.entry import begin  # noqa: PLC0415 - the parent needs none of its imports

    return begin(channel)
