"""Synthetic speech: a buzzing source, vowels by their formants, syllables, pauses.

Speakers differ in pitch, tempo and melody, loudness varies as in speech, and six seconds take about 50 ms to compute,
once for each voice and rate.
"""

import functools
import math
import random
from array import array

VOICES = 8
_TABLE = 1024  # samples of one period of a vowel
_PITCH_HZ = (118.0, 205.0, 96.0, 232.0, 142.0, 178.0, 108.0, 250.0)
_VOWELS_HZ = ((730, 1090, 2440), (530, 1840, 2480), (270, 2290, 3010), (570, 840, 2410), (300, 870, 2240))
_LOUDNESS = 9000
_BLOCK = 64  # samples between changes of pitch and loudness


@functools.lru_cache(maxsize=32)
def speech(voice: int, rate_hz: int, duration_ms: int) -> "array[int]":
    """Return mono L16: syllables of a voice (0 to 7) with pauses between words, silent at both ends."""
    dice = random.Random(voice)
    pitch_hz = _PITCH_HZ[voice % VOICES]
    vowels = [_vowel(pitch_hz, formants, rate_hz) for formants in _VOWELS_HZ]
    samples = array("h")
    total = rate_hz * duration_ms // 1000
    while len(samples) < total - rate_hz // 2:
        for _ in range(dice.randint(2, 5)):
            length = int(rate_hz * dice.uniform(0.11, 0.24))
            samples.extend(_syllable(dice.choice(vowels), pitch_hz * dice.uniform(0.88, 1.18), length, rate_hz, dice))
        samples.extend(array("h", bytes(2 * int(rate_hz * dice.uniform(0.06, 0.35)))))
    del samples[total:]
    fade = min(len(samples), rate_hz // 100)
    for index in range(fade):
        samples[-1 - index] = samples[-1 - index] * index // fade
    samples.extend(array("h", bytes(2 * (total - len(samples)))))
    return samples


@functools.lru_cache(maxsize=64)
def _vowel(pitch_hz: float, formants_hz: tuple[int, int, int], rate_hz: int) -> tuple[float, ...]:
    """Return one period, at most 1 in size: harmonics of the pitch, loud where they are near a formant."""
    period = [0.0] * _TABLE
    for harmonic in range(1, max(2, int(min(rate_hz / 2, 3600) / pitch_hz))):
        loudness = sum(
            1.0 / (order * (1 + ((harmonic * pitch_hz - formant_hz) / (60 + 40 * order)) ** 2))
            for order, formant_hz in enumerate(formants_hz, 1)
        )
        step = 2 * math.pi * harmonic / _TABLE
        for index in range(_TABLE):
            period[index] += loudness * math.sin(step * index)
    peak = max(map(abs, period))
    return tuple(value / peak for value in period)


def _syllable(
    vowel: tuple[float, ...], pitch_hz: float, length: int, rate_hz: int, dice: random.Random
) -> "array[int]":
    """Return `length` samples that rise and fade with a slightly falling pitch, after a short noise."""
    samples = array("h")
    breath = min(length // 4, rate_hz // 40) if dice.random() < 0.6 else 0
    samples.extend(int(dice.uniform(-0.08, 0.08) * _LOUDNESS) for _ in range(breath))
    phase = 0.0
    voiced = length - breath
    for start in range(0, voiced, _BLOCK):
        progress = start / voiced
        step = pitch_hz * (1.06 - 0.12 * progress) * _TABLE / rate_hz
        loudness = _LOUDNESS * math.sin(math.pi * progress) ** 0.7
        for _ in range(min(_BLOCK, voiced - start)):
            samples.append(int(vowel[int(phase) % _TABLE] * loudness))
            phase += step
    return samples
