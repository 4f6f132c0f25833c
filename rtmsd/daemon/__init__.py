"""The daemon: start order, signals, stop, and what the admin socket asks of it."""

from rtmsd.daemon.root import run

__all__ = ["run"]
