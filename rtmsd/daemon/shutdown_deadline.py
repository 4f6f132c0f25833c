"""Deadlines of a shutdown: one for each step, one for all steps together, both shortened by a second signal."""

from typing import Final

import trio

HURRIED_S: Final = 0.5  # for a step: enough for a disk that works
HURRIED_WHOLE_S: Final = 3.0  # for all steps together, and what lies between them


class ShutdownDeadline:
    """Limits the steps of a shutdown, one after the other, and shortens them all once `hurry` was called."""

    def __init__(self) -> None:
        self._step = trio.CancelScope()
        self._whole = trio.CancelScope()
        self._is_hurried = False

    def limit(self, step: trio.CancelScope, for_s: float) -> trio.CancelScope:
        """Give the next step, which runs in the scope `step`, `for_s` from now on. Returns the scope."""
        step.deadline = trio.current_time() + (min(for_s, HURRIED_S) if self._is_hurried else for_s)
        self._step = step
        return step

    async def wait_deadline(self, for_s: float) -> None:
        """Return when all steps together have taken `for_s` from now on, or `HURRIED_WHOLE_S` from a hurry on."""
        with trio.move_on_after(min(for_s, HURRIED_WHOLE_S) if self._is_hurried else for_s) as self._whole:
            await trio.sleep_forever()

    def hurry(self) -> None:
        """Let neither this step nor any later one take longer than `HURRIED_S` from now, or from its start."""
        self._is_hurried = True
        self._step.deadline = min(self._step.deadline, trio.current_time() + HURRIED_S)
        self._whole.deadline = min(self._whole.deadline, trio.current_time() + HURRIED_WHOLE_S)
