"""The short way of an audio packet, in C: from the socket to the end of its track. Python does all the rest.

Nearly all that a stream brings are packets of somebody whose last packet looked the same: a WebSocket frame of the same
length, JSON with other base64 and another time in it, and samples that continue the file. For these, and for nothing
else, `_packets.c` does at one go what four modules do one after the other: `transport.frames`, `protocol.media_data`,
`recording.media.intake` and `recording.media.wav.track`. They stay the reference. What it does not know for certain to
be such a packet it returns as bytes, and they read it as if there were no accelerator. What the messages of somebody
look like it does not know by itself: it is told by `protocol.audio_form`, which finds it out with the reference's
decoder.

There is no accelerator where rtmsd was installed without a C compiler, or with `RTMSD_PURE_PYTHON=1` in the
environment; and it is not used for taps, for codecs other than L16, and where there is no epoll (`transport.network`).

Measured with recording: a flood costs half as much with it, with TLS 0.7; 100 streams of 20 ms, where the kernel and
cold caches count, 0.85. mypyc and Cython were not tried: what costs is not one function but the way through all four.
"""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtmsd.accelerator._packets import Reader

__all__ = ["PacketReader"]


def _load() -> "type[Reader] | None":
    if os.environ.get("RTMSD_PURE_PYTHON", "") not in {"", "0"}:
        return None
    try:
        from rtmsd.accelerator._packets import Reader  # noqa: PLC0415 - it may be missing, or not wanted
    except ImportError:
        return None
    return Reader


PacketReader = _load()
"""Takes the packets of one connection; None: there is no accelerator."""
