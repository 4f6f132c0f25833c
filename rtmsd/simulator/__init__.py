"""A Zoom to talk to: real sockets, real signed webhooks, strict rules, faults on demand, an exact record."""

from rtmsd.simulator.model.fate import ARRIVED, Fate
from rtmsd.simulator.model.record import Record
from rtmsd.simulator.model.settings import Dialect, Person, SimulatorSettings, Timing, Tone
from rtmsd.simulator.scenario.scenario import Scenario, ScenarioError, Step, built_in, load, play
from rtmsd.simulator.server.server import Simulator, open_simulator
from rtmsd.simulator.stream.session import SimSession
from rtmsd.simulator.wire.wire import Cut

__all__ = [
    "ARRIVED",
    "Cut",
    "Dialect",
    "Fate",
    "Person",
    "Record",
    "Scenario",
    "ScenarioError",
    "SimSession",
    "Simulator",
    "SimulatorSettings",
    "Step",
    "Timing",
    "Tone",
    "built_in",
    "load",
    "open_simulator",
    "play",
]
