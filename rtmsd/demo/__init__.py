"""`rtmsd demo`: a simulated Zoom and the real daemon play a session on this machine; a report compares sent and stored.

No account, no network, no file to edit: the simulator runs in this process, the daemon as a process of its own, and
both talk over loopback as they would over the internet (signed webhooks, wss:// with a certificate). The story breaks
connections, servers and the daemon itself; the simulator's record says what must be in the files.
"""

from rtmsd.demo.performance import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_OK, main

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "EXIT_OK", "main"]
