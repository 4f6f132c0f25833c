"""The reader and the player of scenarios. The built-in ones are in `scenarios/`."""

import inspect
import tomllib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import attrs

from rtmsd.errors import RtmsdError
from rtmsd.protocol.enums import MediaType
from rtmsd.protocol.products import PRODUCTS
from rtmsd.simulator.model.answers import AS_ASKED, Answers
from rtmsd.simulator.model.crowd import Crowd
from rtmsd.simulator.model.settings import Addresses, DuplicateSignaling, Person
from rtmsd.simulator.scenario.actions import ACTIONS, Arguments, did_you_mean, read_arguments, read_media, read_table
from rtmsd.simulator.server.server import Simulator
from rtmsd.simulator.stream.session import SimSession

_SERVER = ("id_key", "speaker_key", "details", "protocol_version", "addresses", "duplicate_signaling")
_KEYS = {"title", "product", "media", "answers", "people", "session_key", "step", *_SERVER}


class ScenarioError(RtmsdError):
    """A scenario is wrong; the text names the file, the place and the mistake."""


@attrs.frozen(kw_only=True)
class Step:
    """Call `action` with `arguments` at the age `at_s` of the session, in Zoom's seconds. `note` describes it."""

    at_s: float
    action: str
    arguments: Arguments
    note: str = ""

    def __str__(self) -> str:
        written = ", ".join(f"{name}={getattr(value, 'name', value)}" for name, value in self.arguments.items())
        return self.note or f"{self.action}({written})"


@attrs.frozen(kw_only=True)
class Scenario:
    """A script. `steps` are in the order of their times; the last one is usually a stop.

    Attributes:
        server: what else is said of the session and its server: `id_key` and so on of `Simulator.hold_session`.
    """

    name: str
    title: str
    product: str = "session"
    media: MediaType | None = None
    answers: Answers = AS_ASKED
    people: tuple[Person, ...] = ()
    session_key: str = "room-7"
    server: Mapping[str, Any] = attrs.field(factory=dict)
    steps: tuple[Step, ...] = ()

    @property
    def duration_s(self) -> float:
        return max((step.at_s for step in self.steps), default=0.0)


def built_in() -> dict[str, Scenario]:
    """Return the scenarios that come with the simulator, by name."""
    files = (resources.files(__package__) / "scenarios").iterdir()
    texts = {file.name.removesuffix(".toml"): file.read_text() for file in files if file.name.endswith(".toml")}
    return {name: parse(name, texts[name]) for name in sorted(texts)}


def load(name_or_path: str) -> Scenario:
    """Return a built-in scenario, or the one in a file.

    Raises:
        ScenarioError: not found, or wrong.
    """
    scenarios = built_in()
    if name_or_path in scenarios:
        return scenarios[name_or_path]
    path = Path(name_or_path)
    if path.suffix != ".toml":
        raise ScenarioError(f"no scenario {name_or_path!r}{did_you_mean(name_or_path, scenarios)}")
    try:
        return parse(path.stem, path.read_text())
    except (OSError, UnicodeDecodeError) as exc:
        raise ScenarioError(f"{path}: {exc}") from exc


def parse(name: str, text: str) -> Scenario:
    """Read a scenario from TOML.

    Raises:
        ScenarioError: invalid TOML, or not a scenario.
    """
    try:
        table = tomllib.loads(text)
        for key in table:
            if key not in _KEYS:
                raise ValueError(f"no key {key!r}{did_you_mean(key, sorted(_KEYS))}")  # noqa: TRY301 - one way for all
        return _read(name, table)
    except (ValueError, KeyError, TypeError) as exc:
        raise ScenarioError(f"{name}: {exc}") from exc


def _read(name: str, table: Mapping[str, Any]) -> Scenario:
    product = table.get("product", "session")
    if product not in PRODUCTS:
        raise ValueError(f"no product {product!r}{did_you_mean(str(product), PRODUCTS)}")
    media = MediaType(0)
    for media_name in _list_in(table, "media"):
        media |= read_media("media", media_name)
    answers = table.get("answers", {})
    if not isinstance(answers, Mapping):
        raise ValueError("answers must be a table")  # noqa: TRY004 - a mistake in the file, not in the program
    people = tuple(_person(number, person) for number, person in enumerate(_list_in(table, "people"), 1))
    steps = sorted(
        (_step(number, step) for number, step in enumerate(_list_in(table, "step"), 1)), key=lambda step: step.at_s
    )
    _rehearse(people, steps)
    return Scenario(
        name=name,
        title=str(table.get("title", name)),
        product=product,
        media=media or None,
        answers=read_table("answers", Answers, answers),
        people=people,
        session_key=str(table.get("session_key", "room-7")),
        server=_server(product, table),
        steps=tuple(steps),
    )


def _server(product: str, table: Mapping[str, Any]) -> dict[str, Any]:
    server = {key: table[key] for key in _SERVER if key in table}
    row = PRODUCTS[product]
    allowed_words = {
        "id_key": row.id_keys,
        "speaker_key": row.speaker_keys,
        "addresses": get_args(Addresses),
        "duplicate_signaling": get_args(DuplicateSignaling),
    }
    for key, allowed in allowed_words.items():
        if server.get(key, allowed[0]) not in allowed:
            raise ValueError(f"{key}: {server[key]!r} is not one of {', '.join(allowed)}")
    if not isinstance(server.get("details", {}), dict):
        raise ValueError("details must be a table")  # noqa: TRY004 - a mistake in the file, not in the program
    if type(server.get("protocol_version", 1)) is not int:
        raise ValueError("protocol_version must be a number")
    return server


def _list_in(table: Mapping[str, Any], key: str) -> list[Any]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise ValueError(f"{key} must be a list")  # noqa: TRY004 - a mistake in the file, not in the program
    return value


def _rehearse(people: Iterable[Person], steps: Iterable[Step]) -> None:
    """Refuse steps for people who are not in the session at that time."""
    crowd = Crowd()
    for person in people:
        crowd.join(person, 0)
    for step in steps:
        try:
            who, to = (step.arguments.get(key) for key in ("who", "to"))
            user_id = None if who is None else crowd.find(who)
            if to is not None:
                crowd.find(to)
            if step.action == "join":
                joining = step.arguments["person"]
                crowd.join(Person(user_name=joining) if isinstance(joining, str) else joining, 0)
            elif step.action == "leave" and user_id is not None:
                crowd.leave(user_id, 0)
        except (KeyError, ValueError) as error:
            raise ValueError(f"{step.action} at {step.at_s:g} s: {error.args[0]}") from None


def _person(number: int, written: Any) -> Person:
    if isinstance(written, str):
        return Person(user_name=written)
    person: Person = read_table(f"people[{number}]", Person, written)
    return person


def _step(number: int, written: Mapping[str, Any]) -> Step:
    arguments = dict(written)
    try:
        at_s, action, note = float(arguments.pop("at_s")), str(arguments.pop("do")), str(arguments.pop("note", ""))
        return Step(at_s=at_s, action=action, arguments=read_arguments(action, arguments), note=note)
    except KeyError as exc:
        raise ValueError(f"step {number}: {exc.args[0]} is missing") from None
    except (TypeError, ValueError) as exc:
        raise ValueError(f"step {number}: {exc}") from None


async def _ignore(*_: object) -> None:
    pass


async def play(
    simulator: Simulator,
    scenario: Scenario,
    announce: Callable[[SimSession, Step], Awaitable[None]] = _ignore,
    greet: Callable[[SimSession], Awaitable[None]] = _ignore,
    **options: Any,
) -> SimSession:
    """Start the session of a scenario, take its steps in time, and return after the last one.

    Args:
        announce: awaited before each step.
        greet: awaited once the session has started.
        options: for `Simulator.start_session`, as `rtms_stream_id`.
    """
    session = await simulator.start_session(
        scenario.people,
        product=scenario.product,
        media=scenario.media,
        session_key=scenario.session_key,
        answers=scenario.answers,
        **{**scenario.server, **options},
    )
    await greet(session)
    for step in scenario.steps:
        age_s = (simulator.clock.now_ms() - session.started_ms) / 1000
        await simulator.clock.sleep(step.at_s - age_s)
        if session.stop_reason is not None:  # ended by a window or by the client
            break
        await announce(session, step)
        result = ACTIONS[step.action](session, **step.arguments)
        if inspect.isawaitable(result):
            await result
    return session
