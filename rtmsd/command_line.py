"""A command line that says what was probably meant."""

import argparse
import re
from difflib import get_close_matches
from typing import Final, NoReturn

_CHOICE: Final = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")
_UNKNOWN: Final = re.compile(r"unrecognized arguments: (--[\w-]+)")


class HelpfulParser(argparse.ArgumentParser):
    """Names the nearest verb, value or option beside one that there is not; its subcommands do so, too."""

    def error(self, message: str) -> NoReturn:
        super().error(message + self._meant(message))

    def _meant(self, message: str) -> str:
        if found := _CHOICE.search(message):
            wrong, known = found[1], re.findall(r"[^', ]+", found[2])
        elif found := _UNKNOWN.search(message):
            wrong, known = found[1], sorted(self._options())
        else:
            return ""
        near = get_close_matches(wrong.lower(), known, n=1)
        return f"; did you mean {near[0]}?" if near else ""

    def _options(self) -> set[str]:
        """Return the options of this command and of all below it: an unknown one is told by the topmost."""
        names: set[str] = set()
        for action in self._actions:
            names.update(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    names |= parser._options()
        return names
