"""Sleeps of less than a millisecond, which is the shortest that Trio's own clock can wait."""

import ctypes
import os
from typing import Final

import trio

_MONOTONIC: Final = 1  # CLOCK_MONOTONIC
_NS: Final = 1_000_000_000


class _Spec(ctypes.Structure):
    """struct itimerspec: seconds and nanoseconds of the interval, and until the first expiry."""

    _fields_ = tuple((name, ctypes.c_long) for name in ("interval_s", "interval_ns", "first_s", "first_ns"))


class Timer:
    """A Linux timer (timerfd), for one task at a time.

    Raises:
        OSError: there are no descriptors left, or no timers.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.timerfd_create(_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "no timer")
        self._spec = _Spec()
        self._at = ctypes.byref(self._spec)

    async def rest(self, delay_s: float) -> None:
        """Return after `delay_s`, which is above 0."""
        self._spec.first_s, self._spec.first_ns = divmod(int(delay_s * _NS), _NS)
        self._libc.timerfd_settime(self._fd, 0, self._at, None)
        await trio.lowlevel.wait_readable(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
