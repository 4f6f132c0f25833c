"""rtmsd: a daemon that takes in Zoom Realtime Media Streams (RTMS)."""

__version__ = "0.1.0"
