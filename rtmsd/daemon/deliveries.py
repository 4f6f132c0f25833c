"""Deliveries as the admin socket, status and metrics see them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from rtmsd.admin.messages import AdminError, Code, JsonObject
from rtmsd.sinks.deliveries import GAUGED, RESULTS, Deliveries, NoSuchDelivery, NotDead
from rtmsd.state.deliveries import DeliveryRow, DeliveryState


class DeliveryDesk:
    """Implements `rtmsd.admin.commands.DeliveryBackend`.

    Args:
        root: `recording.directory`.
    """

    def __init__(self, deliveries: Deliveries, root: Path) -> None:
        self._deliveries = deliveries
        self._root = root

    async def listed(self) -> Sequence[JsonObject]:
        return [self._json(row, "output") for row in await self._deliveries.listed()]

    async def show(self, number: int) -> JsonObject:
        try:
            return self._json(await self._deliveries.find(number))
        except NoSuchDelivery as exc:
            raise AdminError(Code.NO_SUCH_DELIVERY, str(exc)) from exc

    async def replay(self, number: int) -> JsonObject:
        try:
            await self._deliveries.replay(number)
        except NoSuchDelivery as exc:
            raise AdminError(Code.NO_SUCH_DELIVERY, str(exc)) from exc
        except NotDead as exc:
            raise AdminError(Code.REFUSED_IN_STATE, str(exc)) from exc
        return {"id": number, "state": DeliveryState.WAITING.value}

    def _json(self, row: DeliveryRow, without: str = "") -> dict[str, Any]:
        fields: dict[str, Any] = attrs.asdict(row)
        fields.pop(without, None)
        due_ms = row.due_ms if row.state is DeliveryState.WAITING else None
        return fields | {"due_ms": due_ms, "directory": str(self._root / row.directory)}


def status(deliveries: Deliveries) -> dict[str, int]:
    """How many deliveries there are that are not done, by state."""
    return {
        state.value: sum(number for (_, found), number in deliveries.counts.items() if found is state)
        for state in GAUGED
    }


def gauge(deliveries: Deliveries) -> dict[tuple[str, str], int]:
    """The deliveries that are not done, by sink and state."""
    counts = {(sink, state.value): number for (sink, state), number in deliveries.counts.items()}
    return {(sink, state.value): 0 for sink in deliveries.sinks for state in GAUGED} | counts


def attempts(deliveries: Deliveries) -> dict[tuple[str, str], int]:
    """How deliveries ended since the start, by sink and result."""
    return {(sink, result): 0 for sink in deliveries.sinks for result in RESULTS} | deliveries.results


def warnings(deliveries: Deliveries) -> list[str]:
    """What is wrong with what sections [[sink]] name."""
    return [f"sink {name!r}: {why}" for name, why in deliveries.warnings.items()]
