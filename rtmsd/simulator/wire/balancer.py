"""The balancer in front of several webhook endpoints: which of them a webhook goes to. Zoom itself knows one URL."""

import itertools
import random
from collections.abc import Sequence

from rtmsd.simulator.model.settings import WebhookRoute


class Balancer:
    """Chooses for each POST.

    Args:
        urls: of the endpoints; may be empty.
        failover: go on to the next URL of the list after a failure.
        chance: for the route "random".
    """

    def __init__(
        self, urls: Sequence[str], route: WebhookRoute, *, failover: bool, chance: random.Random | None = None
    ) -> None:
        self._urls = tuple(urls)
        self._route = route
        self._failover = failover
        self._chance = chance or random.Random()
        self._turns = itertools.count()

    def order(self) -> tuple[str, ...]:
        """Return the URLs to try for one POST, in order: one without failover, each once with it."""
        if not self._urls:
            return ()
        first = self._first()
        turned = (*self._urls[first:], *self._urls[:first])
        return turned if self._failover else turned[:1]

    def _first(self) -> int:
        match self._route:
            case "first":
                return 0
            case "random":
                return self._chance.randrange(len(self._urls))
            case "round-robin":
                return next(self._turns) % len(self._urls)
