"""The results of a run so far: clients under loads, and trials."""

from statistics import median
from typing import Any

import attrs

from tests.benchmarks.figures import Figures
from tests.benchmarks.loads import Load


@attrs.define
class Cell:
    """A client under a load, once for each round; or why it could not be measured."""

    client: str
    load: Load
    rounds: list[Figures] = attrs.field(factory=list)
    failure: str = ""

    def middle(self, field: str) -> Any:
        if field == "rounds":
            return len(self.rounds)
        values = [value for each in self.rounds if (value := getattr(each, field)) is not None]
        if not values:
            return None
        return sum(values) if field in {"lost", "dropped", "skipped"} else median(values)


@attrs.define
class Results:
    """Everything measured, in the order of the plan."""

    cells: list[Cell] = attrs.field(factory=list)
    trials: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    missing: dict[str, str] = attrs.field(factory=dict)
    machine: dict[str, Any] = attrs.field(factory=dict)
    left_out: list[str] = attrs.field(factory=list)  # for want of time

    def cell(self, client: str, load: Load) -> Cell:
        for cell in self.cells:
            if cell.client == client and cell.load == load:
                return cell
        self.cells.append(Cell(client, load))
        return self.cells[-1]

    def value(self, client: str, load: Load, field: str) -> Any:
        """A figure of a client under a load, whatever the load's duration; None: not measured."""
        for cell in self.cells:
            if cell.client == client and attrs.evolve(cell.load, seconds=load.seconds) == load:
                return cell.middle(field)
        return None

    def loads(self) -> list[Load]:
        return list(dict.fromkeys(cell.load for cell in self.cells))

    def of(self, load: Load) -> list[Cell]:
        return [cell for cell in self.cells if cell.load == load]
