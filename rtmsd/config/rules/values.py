"""Rules for numbers, texts and lists, and the mistakes they raise."""

import re
from pathlib import Path
from typing import Annotated, TypeAlias

import attrs


class Mistake(ValueError):
    """A mistake in one value, and how to correct it, without the path of its key."""


def resolve(text: str, base: Path) -> Path:
    """Return the file that `text` names; a relative name starts from `base`."""
    if not text or not text.isprintable():
        raise Mistake(f"must name a file, not {text!r}")
    if text.startswith("~"):
        raise Mistake(f"{text!r}: ~ has no meaning here; write the path in full")
    return base / text


@attrs.frozen
class Between:
    """A number within bounds, both included. Not-a-number and the infinities of TOML are outside every bound."""

    low: float
    high: float

    def __call__(self, value: float) -> None:
        if not self.low <= value <= self.high:
            raise Mistake(f"must be from {self.low} to {self.high}, not {value}")


@attrs.frozen
class Matches:
    """A text that matches a pattern from end to end; `what` says in words what is allowed."""

    pattern: str
    what: str

    def __call__(self, value: str) -> None:
        if re.fullmatch(self.pattern, value) is None:
            raise Mistake(f"must be {self.what}, not {value!r}")


NAME = Matches(r"[A-Za-z0-9_.-]{1,64}", "1 to 64 letters, digits or . _ -")


def not_placeholder(value: str) -> None:
    """Refuse what config.toml and the README have in the place of a value: "...", and its like."""
    if value and not value.strip(".…"):
        raise Mistake(f"{value!r} stands for a value in the example: write your own in its place")


def one_word(value: str) -> None:
    not_placeholder(value)
    if re.fullmatch(r"[!-~]+", value) is None:
        raise Mistake(f"must be one word without blanks, not {value!r}")


def one_word_or_none(value: str) -> None:
    if value:
        one_word(value)


def not_empty(value: tuple[object, ...]) -> None:
    if not value:
        raise Mistake("must name at least one")


def no_repeats(value: tuple[object, ...]) -> None:
    for item in value:
        if value.count(item) > 1:
            raise Mistake(f"names {item!r} more than once")


Seconds: TypeAlias = Annotated[float, Between(0.001, 86_400)]
