"""Local control: the admin API, HTTP/1.1 and JSON on a Unix socket, and the port for metrics."""
