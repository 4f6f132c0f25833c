"""Lines of JSON, whatever Zoom put into them."""

import json
import math
from collections.abc import Mapping
from typing import Any


def json_line(value: Any) -> bytes:
    """One JSON text and a line feed.

    Only ASCII: a name may hold a lone surrogate, which UTF-8 cannot say. NaN and infinity, which Python's reader of
    JSON lets in and nobody else's does, become null.
    """
    try:
        text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(value), separators=(",", ":"), allow_nan=False)
    return text.encode("ascii") + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
