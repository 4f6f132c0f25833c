"""How long the steps of a stop may take."""

from typing import Final

import trio

HURRIED_S: Final = 0.5  # enough for a disk that works


class Patience:
    """Limits the steps of a stop, one after the other, and shortens them all once somebody is in a hurry."""

    def __init__(self) -> None:
        self._step = trio.CancelScope()
        self._is_hurried = False

    def limit(self, step: trio.CancelScope, for_s: float) -> trio.CancelScope:
        """Give the next step, which runs in the scope `step`, so much time from now on. Returns the scope."""
        step.deadline = trio.current_time() + (min(for_s, HURRIED_S) if self._is_hurried else for_s)
        self._step = step
        return step

    def hurry(self) -> None:
        """Let neither this step nor any later one take longer than `HURRIED_S` from now, or from its start."""
        self._is_hurried = True
        self._step.deadline = min(self._step.deadline, trio.current_time() + HURRIED_S)
