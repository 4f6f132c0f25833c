"""An argument parser that suggests the nearest verb, value or option."""

import argparse
import re
from difflib import get_close_matches
from typing import Any, Final, NoReturn

_CHOICE: Final = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")
_UNKNOWN: Final = re.compile(r"unrecognized arguments: (--[\w-]+)")


class HelpfulParser(argparse.ArgumentParser):
    """Suggests the nearest verb, value or option for an unknown one; so do its subcommands."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse; what is too much is an error of the command that was given it, which has the usage to show."""
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return known, unknown

    def error(self, message: str) -> NoReturn:
        super().error(message + self._suggestion(message))

    def _suggestion(self, message: str) -> str:
        if found := _CHOICE.search(message):
            wrong, known = found[1], re.findall(r"[^', ]+", found[2])
        elif found := _UNKNOWN.search(message):
            wrong, known = found[1], sorted(self._options())
        else:
            return ""
        near = get_close_matches(wrong.lower(), known, n=1)
        return f"; did you mean {near[0]}?" if near else ""

    def _options(self) -> set[str]:
        """Return the options of this command, and of all below it: one of theirs may stand too early."""
        names: set[str] = set()
        for action in self._actions:
            names.update(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                for parser in action.choices.values():
                    names |= parser._options()
        return names
