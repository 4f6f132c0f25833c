"""All cores of one machine: a parent that owns no stream, and workers that are members of each other's cluster.

Theory of operation
-------------------
The **parent** opens the listening sockets, and what else its workers share (`holdings`). It starts the workers as fresh
interpreters that inherit the descriptors of all that, and speaks for all to the service manager. It owns no stream and
reads no media: it has nothing to crash from.

A **worker** is a `daemon.process.Process`, as the only process of a small daemon is; its `Role` differs. All workers
accept on the same sockets. There are two kinds, which differ in what they share beside these:

- Without `[cluster]`, **a disk** (`sharing`): one state file, and the same directories of recordings. The parent has
  them open and locked, prunes, tidies and delivers. Which worker has a stream is settled in the state file, by the
  rules of `rtmsd.cluster`, and what comes to another is passed on over the workers' own sockets, without the parent. A
  worker opens its doors when all are there and have taken their share of what an earlier daemon left: the first to be
  ready would have all of it.
- With `[cluster]`, **nothing** (`member`): each is a member as on a machine of its own, called "<node>.<number>", with
  a state file, directories, deliveries and beats of its own (`config.workers`). Every rule that holds between machines
  holds between workers, and one that was frozen has nothing in its hands that another writes to. A stream that goes
  from one to the other is two parts, and gathered in the end. The parent opens no file.

Between parent and worker lies a **channel**: a pair of sockets, one line of JSON a message (`messages`). The parent
says who lives and who died, the worker that it is there. Its end is how a worker learns that the parent died, however
that came about: it suspends its streams and exits. So no process of a daemon outlives the others for long; while one
does, the locks that it has, or inherited, keep another daemon from what it writes to.

What an operator orders (`drain`, `reload`, `shutdown`) reaches whichever worker accepts the client. The parent hears of
it, and has all do it: also workers that were frozen meanwhile, or start later. An order of the cluster to drain is the
same one, for the machine or one of its workers.

A worker that dies is started again, with a delay that grows while it goes on dying; the others have taken over its
streams by then, or, where beats say who lives, leave them to its next life if that is sooner. One that hangs is killed,
and then has died like any other. One that refuses the configuration before all were ready ends the daemon.
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
