"""Rates of arrival, per second, from counts that only grow."""

from collections import Counter
from typing import Final, TypeAlias

SAMPLE_EVERY_S: Final = 1.0

_Sample: TypeAlias = tuple[float, Counter[str], Counter[str]]  # when, messages, bytes


class Rates:
    """Messages and bytes per second by medium, between the two latest samples: the same for everybody who looks.

    How old the latest packet is, is seen by the counts, too, so that receiving one costs nothing more: to be exact to
    `SAMPLE_EVERY_S` is enough for a person.

    Args:
        now_s: a monotonic time.
    """

    def __init__(self, now_s: float) -> None:
        self._before: _Sample = (now_s, Counter(), Counter())
        self._latest = self._before
        self._seen: Counter[str] = Counter()
        self._arrived_s: dict[str, float] = {}

    def sample(self, now_s: float, messages: Counter[str], sizes: Counter[str]) -> None:
        """Take the counts as they are now. Called about every `SAMPLE_EVERY_S`, however late the loop is."""
        self._note(now_s, messages)
        if now_s > self._latest[0]:
            self._before, self._latest = self._latest, (now_s, messages, sizes)

    @property
    def latest(self) -> dict[str, dict[str, float]]:
        """`messages_per_s` and `bytes_per_s` by medium; empty before the first sample. Worked out for who looks:
        samples are taken of all streams.
        """
        (before_s, messages_before, bytes_before), (now_s, messages, sizes) = self._before, self._latest
        seconds = now_s - before_s
        return {
            name: {
                "messages_per_s": round((messages[name] - messages_before[name]) / seconds, 1),
                "bytes_per_s": round((sizes[name] - bytes_before[name]) / seconds),
            }
            for name in messages
        }

    def last_packet_age_s(self, now_s: float, messages: Counter[str]) -> dict[str, float]:
        """Return how long ago the latest message of each medium came, of those of which any came."""
        self._note(now_s, messages)
        return {media: round(now_s - at_s, 1) for media, at_s in self._arrived_s.items()}

    def _note(self, now_s: float, messages: Counter[str]) -> None:
        for media, number in messages.items():
            if number != self._seen[media]:
                self._arrived_s[media] = now_s
        self._seen = messages
