"""How much arrives per second, from counts that only grow."""

from collections import Counter
from typing import Final

SAMPLE_EVERY_S: Final = 1.0


class Rates:
    """Messages and bytes per second by medium, between the two latest samples: the same for everybody who looks.

    Attributes:
        latest: `messages_per_s` and `bytes_per_s` by medium; empty before the first sample.

    Args:
        now_s: a monotonic time.
    """

    def __init__(self, now_s: float) -> None:
        self.latest: dict[str, dict[str, float]] = {}
        self._sampled_s = now_s
        self._messages: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def sample(self, now_s: float, messages: Counter[str], sizes: Counter[str]) -> None:
        """Take the counts as they are now. Called about every `SAMPLE_EVERY_S`, however late the loop is."""
        seconds = now_s - self._sampled_s
        if seconds <= 0:
            return
        self.latest = {
            name: {
                "messages_per_s": round((messages[name] - self._messages[name]) / seconds, 1),
                "bytes_per_s": round((sizes[name] - self._bytes[name]) / seconds),
            }
            for name in messages
        }
        self._sampled_s, self._messages, self._bytes = now_s, messages, sizes
