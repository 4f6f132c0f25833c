"""`rtmsd demo --cluster`: the same for three daemons that are members of one cluster, on three NATS servers.

Each member has its own directories, as on a machine of its own. At the end of a stream its last owner joins the parts
of all, and that joined recording is what is compared with the simulator's record.
"""

from rtmsd.demo.cluster.performance import main

__all__ = ["main"]
