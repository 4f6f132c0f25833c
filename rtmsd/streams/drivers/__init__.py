"""The tasks of a stream: sockets, timers and files around its core."""
