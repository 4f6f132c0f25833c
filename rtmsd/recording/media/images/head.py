"""The head of a message: what it says about itself, as each of the readers returns it."""

from functools import lru_cache
from typing import NamedTuple, TypeAlias

Size: TypeAlias = tuple[int, int]
"""Width and height in pixels."""


class Head(NamedTuple):
    """Attributes:
    is_key: whether it can be decoded without those before: an IDR picture of H.264, and any image.
    size: None where the message does not say.
    """

    is_key: bool
    size: Size | None


NOT_KEY = Head(is_key=False, size=None)
KEY = Head(is_key=True, size=None)


@lru_cache(maxsize=64)
def image_head(width: int, height: int) -> Head:
    """Return the head of an image of this size: the same for one after the other, which costs a third."""
    return Head(is_key=True, size=(width, height))
