"""The daemon: start order, signals, shutdown, health, and the backend of the admin socket."""

from rtmsd.daemon.root import prepare, run, run_prepared, warn

__all__ = ["prepare", "run", "run_prepared", "warn"]
