"""The daemon: start order, signals, shutdown, health, and the backend of the admin socket."""

from rtmsd.daemon.root import run

__all__ = ["run"]
