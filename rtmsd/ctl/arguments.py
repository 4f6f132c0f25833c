"""The types of arguments for argparse, which shows the text of an ArgumentTypeError."""

import math
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from rtmsd.export.span import Moment


def positive_seconds(text: str) -> float:
    """A positive finite number."""
    try:
        value_s = float(text)
    except ValueError:
        value_s = math.nan
    if not 0 < value_s < math.inf:
        raise ArgumentTypeError(f"{text!r} is not a positive number of seconds")
    return value_s


def whole_number(text: str) -> int:
    """A whole number from 0 on."""
    try:
        value = int(text)
    except ValueError:
        value = -1
    if value < 0:
        raise ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return value


def web_url(text: str) -> "SplitResult":
    """An http or https URL."""
    from urllib.parse import urlsplit  # noqa: PLC0415 - not at every start

    try:
        url = urlsplit(text)
        is_good = url.scheme in ("http", "https") and url.hostname and url.port != 0  # `port` raises for what is none
    except ValueError:
        is_good = False
    if not is_good:
        raise ArgumentTypeError(f"{text!r} is not an http or https URL, such as https://rtms.example.com/webhook")
    return url


def count(text: str) -> int:
    """A whole number from 1 on."""
    value = whole_number(text)
    if value == 0:
        raise ArgumentTypeError("0 is too small")
    return value


def time_in_recording(text: str) -> "Moment":
    """A time from the start of a recording, or a date."""
    from rtmsd.export.span import read_moment  # noqa: PLC0415 - not at every start

    try:
        return read_moment(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
