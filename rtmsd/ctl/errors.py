"""Exit statuses of rtmsctl, and the exception that carries one."""

import enum


class Exit(enum.IntEnum):
    """Exit status of rtmsctl, fixed for scripts."""

    OK = 0
    FAILED = 1
    USAGE = 2  # also an ambiguous prefix
    UNREACHABLE = 3
    NO_SUCH_STREAM = 4
    NOT_PERMITTED = 5  # also by the mode of the socket or of a file
    TIMED_OUT = 6
    REFUSED = 7  # not in this state
    BAD_CONFIG = 78  # of `config check`, as of `rtmsd check`


class CtlError(Exception):
    """The verb cannot be done; `main` prints it and ends with `exit_code`.

    Attributes:
        exit_code: the process's exit status.
        hint: what a person can do about it, "" when the message says it already.
    """

    def __init__(self, exit_code: Exit, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.hint = hint
