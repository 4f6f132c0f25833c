"""Completion for fish, which shtab does not write, from the same table of verbs that makes the parser."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from rtmsd.ctl.verb import STREAM, Verb

STREAM_IDS: Final = "(rtmsctl ps -a 2>/dev/null | cut -f1)"


def fish_script(verbs: Sequence[Verb], groups: Mapping[str, str], global_arguments: Sequence[argparse.Action]) -> str:
    """Return the whole script, a `complete` command a line."""
    return "\n".join(("complete -c rtmsctl -f", *_lines(verbs, groups, global_arguments)))


class RecordingParser(argparse.ArgumentParser):
    """Keeps the arguments that are added to it, which argparse itself does not tell.

    Attributes:
        arguments: in the order they were added, `--help` first.
    """

    def __init__(self) -> None:
        self.arguments: list[argparse.Action] = []
        super().__init__()

    def add_argument(self, *args: Any, **kwargs: Any) -> argparse.Action:
        action = super().add_argument(*args, **kwargs)
        self.arguments.append(action)
        return action


def _lines(
    verbs: Sequence[Verb], groups: Mapping[str, str], global_arguments: Sequence[argparse.Action]
) -> Iterator[str]:
    plain = [verb.name for verb in verbs if " " not in verb.name]
    at_start = f"not {_seen(*plain, *groups)}"
    for name, summary in groups.items():
        yield _complete(at_start, f"-a {name}", summary)
    for verb in verbs:
        group, _, name = verb.name.rpartition(" ")
        if group:
            others = [other.name.removeprefix(f"{group} ") for other in verbs if other.name.startswith(f"{group} ")]
            yield _complete(f"{_seen(group)}; and not {_seen(*others)}", f"-a {name}", verb.summary)
            here = f"{_seen(group)}; and {_seen(name)}"
        else:
            yield _complete(at_start, f"-a {name}", verb.summary)
            here = f"{_seen(name)}; and not {_seen(*groups)}"
        parser = RecordingParser()
        verb.arguments(parser)
        for argument in parser.arguments:
            yield from _argument(here, argument)
    for argument in global_arguments:
        yield from _argument("", argument)


def _argument(condition: str, argument: argparse.Action) -> Iterator[str]:
    summary = "" if argument.help is None else argument.help
    choices = " ".join(map(str, argument.choices or ()))
    if argument.option_strings:
        flags = " ".join(
            f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in argument.option_strings
        )
        value = "" if argument.nargs == 0 else f" -r -a '{choices}'" if choices else " -r"
        yield _complete(condition, flags + value, summary)
    elif argument.metavar == STREAM:
        yield _complete(condition, f"-a '{STREAM_IDS}'", summary)
    elif choices:
        yield _complete(condition, f"-a '{choices}'", summary)


def _complete(condition: str, what: str, summary: str) -> str:
    when = f" -n '{condition}'" if condition else ""
    described = summary.replace("\\", "\\\\").replace("'", "\\'")
    return f"complete -c rtmsctl{when} {what} -d '{described}'"


def _seen(*words: str) -> str:
    return f"__fish_seen_subcommand_from {' '.join(words)}"
