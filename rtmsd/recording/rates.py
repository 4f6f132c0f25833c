"""How much arrives per second, from counts that only grow."""

from collections import Counter


class Rates:
    """Messages and bytes per second and medium, since they were last asked for.

    Args:
        now_ms: local time.
    """

    def __init__(self, now_ms: int) -> None:
        self._since_ms = now_ms
        self._messages: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def look(self, now_ms: int, messages: Counter[str], sizes: Counter[str]) -> dict[str, dict[str, float]]:
        """Return the rates by medium. Less than a second after the last time, they are those since the time before."""
        seconds = (now_ms - self._since_ms) / 1000
        rates = {
            name: {
                "messages_per_s": round((messages[name] - self._messages[name]) / seconds, 1) if seconds > 0 else 0.0,
                "bytes_per_s": round((sizes[name] - self._bytes[name]) / seconds) if seconds > 0 else 0,
            }
            for name in messages
        }
        if seconds >= 1:
            self._since_ms, self._messages, self._bytes = now_ms, messages, sizes
        return rates
