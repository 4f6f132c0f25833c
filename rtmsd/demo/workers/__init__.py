"""`rtmsd demo --workers`: the same for a daemon of several processes, some of which die.

More streams than workers, so that each has some; Zoom's webhooks come to any of them. What the faults cost is measured
from outside: by the simulator's record of connections and packets, the daemon's log, and the files.
"""

from rtmsd.demo.workers.performance import main

__all__ = ["main"]
