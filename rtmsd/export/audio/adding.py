"""The sum of samples of 16 bit, clipped. Blocks are little-endian L16 of one length."""

from array import array
from collections.abc import Callable, Sequence
from typing import Any, Final

from rtmsd.export.extra import have

Add = Callable[[Sequence[bytes]], tuple[bytes, int]]
"""Returns the sum of blocks, and how many samples were clipped."""

_LOUDEST: Final = 32_767


def adder() -> Add:
    """Return the quickest way to add that there is: numpy takes a twentieth of the time."""
    numpy = have("numpy")
    return _add if numpy is None else lambda blocks: _add_quickly(numpy, blocks)


def widened(block: bytes) -> bytes:
    """Return mono as stereo."""
    mono = array("h", block)
    stereo = array("h", bytes(2 * len(block)))
    stereo[0::2] = stereo[1::2] = mono
    return stereo.tobytes()


def _add(blocks: Sequence[bytes]) -> tuple[bytes, int]:
    """Add in two long integers, one of every second sample each, in lanes of 32 bits: many times as fast as samples."""
    size_bytes = len(blocks[0])
    lanes = (size_bytes + 3) // 4
    ones = int.from_bytes(b"\1\0\0\0" * lanes, "little")
    signs, lower = ones * 0x8000_8000, ones * 0xFFFF
    evens = both = 0
    for block in blocks:
        raised = int.from_bytes(block, "little") ^ signs  # each sample by 2^15: none is negative
        evens += raised & lower
        both += raised
    odds = (both - evens) >> 16
    level = ones * (2**31 - (len(blocks) - 1) * 2**15)  # each sum is raised as a sample is, and by 2^31
    evens, few = _clip(evens + level, ones)
    odds, more = _clip(odds + level, ones)
    return ((odds << 16 | evens) ^ signs).to_bytes(4 * lanes, "little")[:size_bytes], few + more


def _clip(sums: int, ones: int) -> tuple[int, int]:
    """Return sums that are raised by 2^31, clipped to what is 0 to 65535 above that, and how many had to be."""
    reached = sums >> 31 & ones
    passed = (sums - (ones << 16)) >> 31 & ones
    clipped = (reached ^ ones).bit_count() + passed.bit_count()
    return sums & reached * 0xFFFF | passed * 0xFFFF, clipped


def _add_quickly(numpy: Any, blocks: Sequence[bytes]) -> tuple[bytes, int]:
    total = numpy.frombuffer(blocks[0], "<i2").astype("<i4")
    for block in blocks[1:]:
        total += numpy.frombuffer(block, "<i2")
    if total.max() > _LOUDEST or total.min() < -_LOUDEST - 1:
        clipped = int(numpy.count_nonzero((total > _LOUDEST) | (total < -_LOUDEST - 1)))
        numpy.clip(total, -_LOUDEST - 1, _LOUDEST, out=total)
    else:
        clipped = 0
    return total.astype("<i2").tobytes(), clipped
