"""Local control: HTTP/1.1 and JSON on a Unix socket, live taps, and metrics."""
