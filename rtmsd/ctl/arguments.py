"""Types of arguments, as argparse wants them: they raise ValueError for what they do not take."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urllib.parse import SplitResult


def positive_seconds(text: str) -> float:
    """A positive finite number."""
    value_s = float(text)
    if not 0 < value_s < math.inf:
        raise ValueError
    return value_s


def whole_number(text: str) -> int:
    """How many."""
    value = int(text)
    if value < 0:
        raise ValueError
    return value


def web_url(text: str) -> "SplitResult":
    """An http or https URL."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - not at every start

    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0:  # `port` raises for what is none
        raise ValueError
    return url
