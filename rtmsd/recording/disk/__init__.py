"""Bytes on their way to disk: paths, file buffers, the writer thread, and retried disk work."""
