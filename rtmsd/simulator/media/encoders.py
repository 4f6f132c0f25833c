"""Encoders for G.711 A-law and G.722, after the ITU-T recommendations."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from array import array


def encode_alaw(samples: Iterable[int]) -> bytes:
    """Return one byte a sample."""
    return bytes(_ALAW[(sample >> 3) & 0x1FFF] for sample in samples)


def _alaw_byte(value: int) -> int:
    """Encode a signed 13-bit value: sign, segment, step within it, every other bit inverted."""
    sign = 0xD5 if value >= 0 else 0x55
    magnitude = value if value >= 0 else -value - 1
    segment = max(0, magnitude.bit_length() - 5)
    step = (magnitude >> (segment if segment > 0 else 1)) & 0x0F
    return ((segment << 4) | step) ^ sign


_ALAW = bytes(_alaw_byte(value if value < 0x1000 else value - 0x2000) for value in range(0x2000))


# G.722 at 64 kbit/s. Names in comments are those of the recommendation.

_Q6: tuple[int, ...] = (
    *(0, 35, 72, 110, 150, 190, 233, 276, 323, 370, 422, 473, 530, 587, 650, 714),
    *(786, 858, 940, 1023, 1121, 1219, 1339, 1458, 1612, 1765, 1980, 2195, 2557, 2919),
)
_ILN: tuple[int, ...] = (0, 63, 62, *range(31, 3, -1))
_ILP: tuple[int, ...] = (0, *range(61, 31, -1))
_WL = (-60, -30, 58, 172, 334, 538, 1198, 3042)
_RL42 = (0, 7, 6, 5, 4, 3, 2, 1, 7, 6, 5, 4, 3, 2, 1, 0)
_ILB: tuple[int, ...] = (
    *(2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834),
    *(2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008),
)
_QM4 = (0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0)
_QM2 = (-7408, -1616, 7408, 1616)
_WH = (0, -214, 798)
_RH2 = (2, 1, 2, 1)
_QMF = (3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11)


def _saturate(value: int) -> int:
    return max(-32768, min(32767, value))


@attrs.define
class _Band:
    """The adaptive predictor and quantiser scale of one half of the spectrum (blocks 3 and 4)."""

    det: int
    nb: int = 0
    s: int = 0
    sp: int = 0
    sz: int = 0
    r: list[int] = attrs.Factory(lambda: [0] * 3)
    p: list[int] = attrs.Factory(lambda: [0] * 3)
    a: list[int] = attrs.Factory(lambda: [0] * 3)
    b: list[int] = attrs.Factory(lambda: [0] * 7)
    d: list[int] = attrs.Factory(lambda: [0] * 7)

    def rescale(self, weight: int, highest: int, shift: int) -> None:
        """Adapt the step size (LOGSCL or LOGSCH, then SCALEL or SCALEH)."""
        self.nb = max(0, min(highest, ((self.nb * 127) >> 7) + weight))
        fraction: int = _ILB[(self.nb >> 6) & 31]
        exponent = shift - (self.nb >> 11)
        self.det = (fraction << -exponent if exponent < 0 else fraction >> exponent) << 2

    def predict(self, difference: int) -> None:
        """Adapt the predictor to the quantised difference and predict the next sample (block 4)."""
        r, p, a, b, d = self.r, self.p, self.a, self.b, self.d
        d[0] = difference
        r[0] = _saturate(self.s + difference)
        p[0] = _saturate(self.sz + difference)
        same_1 = (p[0] < 0) == (p[1] < 0)
        same_2 = (p[0] < 0) == (p[2] < 0)
        twice = _saturate(a[1] << 2)
        second = min(32767, -twice if same_1 else twice) >> 7
        a2 = max(-12288, min(12288, second + (128 if same_2 else -128) + ((a[2] * 32512) >> 15)))
        limit = _saturate(15360 - a2)
        a1 = max(-limit, min(limit, _saturate((192 if same_1 else -192) + ((a[1] * 32640) >> 15))))
        gain = 128 if difference else 0
        for i in range(1, 7):
            b[i] = _saturate((gain if (d[i] < 0) == (difference < 0) else -gain) + ((b[i] * 32640) >> 15))
        d[1:7] = d[0:6]
        r[2], r[1], p[2], p[1], a[2], a[1] = r[1], r[0], p[1], p[0], a2, a1
        self.sp = _saturate(((a1 * _saturate(r[1] * 2)) >> 15) + ((a2 * _saturate(r[2] * 2)) >> 15))
        self.sz = _saturate(sum((b[i] * _saturate(d[i] * 2)) >> 15 for i in range(1, 7)))
        self.s = _saturate(self.sp + self.sz)


def encode_g722(samples: "array[int]") -> bytes:
    """Return one byte for two samples of 16 kHz (an odd last sample is left out)."""
    low, high = _Band(det=32), _Band(det=8)
    history = [0] * 24
    encoded = bytearray()
    for at in range(0, len(samples) - 1, 2):
        history[:] = [*history[2:], samples[at], samples[at + 1]]
        odd = sum(history[2 * i] * _QMF[i] for i in range(12))
        even = sum(history[2 * i + 1] * _QMF[11 - i] for i in range(12))
        encoded.append(_encode_low(low, (even + odd) >> 14) | _encode_high(high, (even - odd) >> 14) << 6)
    return bytes(encoded)


def _encode_low(band: _Band, value: int) -> int:
    error = _saturate(value - band.s)
    magnitude = error if error >= 0 else -(error + 1)
    level = next((i for i in range(1, 30) if magnitude < (_Q6[i] * band.det) >> 12), 30)
    code = _ILN[level] if error < 0 else _ILP[level]
    ril = code >> 2
    difference = (band.det * _QM4[ril]) >> 15
    band.rescale(_WL[_RL42[ril]], 18432, 8)
    band.predict(difference)
    return code


def _encode_high(band: _Band, value: int) -> int:
    error = _saturate(value - band.s)
    magnitude = error if error >= 0 else -(error + 1)
    level = 2 if magnitude >= (564 * band.det) >> 12 else 1
    code = (0, 1, 0)[level] if error < 0 else (0, 3, 2)[level]
    difference = (band.det * _QM2[code]) >> 15
    band.rescale(_WH[_RH2[code]], 22528, 10)
    band.predict(difference)
    return code
