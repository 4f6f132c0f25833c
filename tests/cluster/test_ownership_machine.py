"""Any course of webhooks, deaths and outages among members: one owner for each stream, and none without, once calm."""

import contextlib
from typing import Final, Literal, TypeAlias

import attrs
import trio
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from rtmsd.cluster.engines.memory import Fault
from rtmsd.cluster.handover.passages import NotMoved
from rtmsd.commands import StartStream, StreamCommand, Verdict
from rtmsd.errors import RtmsdError
from rtmsd.state.rows import Known
from rtmsd.state.verdicts import close, judge
from tests.cluster.crew import T0_MS, Crew, Mate, a_crew, interrupt, start, stop
from tests.jumping import run_jumping

NODES: Final = ("1", "2", "3")
CALM_S: Final = 120.0
ANSWER_S: Final = 2.5
DRAIN_S: Final = 20.0


@attrs.frozen
class Post:
    """A webhook, to one member or to several at once."""

    command: StreamCommand
    nodes: tuple[str, ...]


@attrs.frozen
class Kill:
    node: str
    unnoticed_s: float


@attrs.frozen
class Break:
    """A fault of the engine, for one member or all."""

    fault: Fault
    node: str | None


@attrs.frozen
class Heal:
    node: str | None


@attrs.frozen
class Cut:
    """Zoom closes the connection of a stream."""

    rtms_stream_id: str


@attrs.frozen
class Drain:
    """A member takes no streams, and hands over what it has; or it takes them again."""

    node: str
    on: bool


@attrs.frozen
class Move:
    rtms_stream_id: str
    to: str | None


@attrs.frozen
class Wait:
    for_s: float


Step: TypeAlias = Post | Kill | Break | Heal | Cut | Drain | Move | Wait

_names = st.sampled_from(["s", "t", "u"])
_nodes = st.sampled_from(NODES)
_times = st.integers(0, 5).map(lambda each: T0_MS + each * 1000)
_commands: st.SearchStrategy[StreamCommand] = st.one_of(
    st.builds(start, _names, _times),
    st.builds(start, _names, _times),
    st.builds(stop, _names, st.one_of(_times, st.none()), st.sampled_from([6, 6, 8])),
    st.builds(interrupt, _names, _times),
)
_posts = st.builds(Post, _commands, st.lists(_nodes, min_size=1, max_size=3).map(tuple))
_waits = st.builds(Wait, st.sampled_from([0.0, 0.1, 0.5, 2.0, 10.0, 40.0]))
_quiet = st.one_of(_posts, _posts, _waits)
_any_step = st.one_of(
    _posts,
    _posts,
    _waits,
    st.builds(Kill, _nodes, st.sampled_from([0.0, 1.0, 5.0])),
    st.builds(Break, st.sampled_from(Fault), st.one_of(_nodes, st.none())),
    st.builds(Heal, st.one_of(_nodes, st.none())),
    st.builds(Cut, _names),
    st.builds(Drain, _nodes, st.booleans()),
    st.builds(Move, _names, st.one_of(_nodes, st.none())),
)


class Course:
    """Plays steps, and keeps what each webhook was answered."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.answers: list[tuple[StreamCommand, Verdict | None]] = []  # None: 503, or nobody lived to answer

    async def play(self, step: Step) -> None:
        crew = self.crew
        match step:
            case Post():
                async with trio.open_nursery() as nursery:
                    for node in step.nodes:
                        nursery.start_soon(self._post, step.command, node)
            case Kill():
                if step.node in crew.mates and len(crew.mates) > 1:
                    await crew.kill(step.node, unnoticed_s=step.unnoticed_s)
                    await crew.begin(step.node)
            case Break():
                crew.engine.fail(step.fault, step.node)
            case Heal():
                crew.engine.recover(step.node)
            case Cut():
                if (life := crew.zoom.slots.get(step.rtms_stream_id)) is not None:
                    life.cut()
            case Drain():
                crew.drain(step.node, on=step.on)
                if step.on and (mate := crew.mates.get(step.node)) is not None:
                    mate.nursery.start_soon(mate.handover.drain, DRAIN_S)
            case Move():
                for mate in crew.mates.values():
                    if step.rtms_stream_id in mate.streams:
                        mate.nursery.start_soon(_move, mate, step)
            case Wait():
                await trio.sleep(step.for_s)

    async def _post(self, command: StreamCommand, node: str) -> None:
        """Lives of this model write to the engine alone, however long it is broken: nobody waits so long."""
        verdict = None
        if node in self.crew.mates:
            with trio.move_on_after(ANSWER_S):
                try:
                    verdict = await self.crew.mates[node].router.accept(command)
                except RtmsdError as error:
                    note(f"{type(command).__name__} to {node}: {error}")
        self.answers.append((command, verdict))

    async def calm_down(self) -> None:
        self.crew.engine.recover()
        for node in NODES:
            self.crew.engine.recover(node)
        for node in NODES:
            self.crew.drain(node, on=False)
        await trio.sleep(CALM_S)

    def check_calm(self) -> None:
        """Each unfinished stream is connected by its owner, and by nobody else; nothing else lives."""
        crew = self.crew
        for rtms_stream_id in "stu":
            owner, is_unfinished = crew.state(rtms_stream_id)
            lives = crew.owners(rtms_stream_id)
            assert lives == ([owner] if is_unfinished else []), (rtms_stream_id, owner, is_unfinished)
            if is_unfinished:
                assert owner is not None
                assert rtms_stream_id in crew.mates[owner].connected
                assert rtms_stream_id in crew.mates[owner].ownership.mine

    def check_answered(self) -> None:
        """A start that was accepted left its trace: it is known as delivered, or was before it."""
        for command, verdict in self.answers:
            if isinstance(command, StartStream) and verdict in {Verdict.NEW, Verdict.DUPLICATE}:
                known = self.crew.engine.tables.read(command.rtms_stream_id).known
                assert known.row is not None
                assert known.row.event_ts >= command.event_ts


async def _move(mate: Mate, move: Move) -> None:
    with contextlib.suppress(NotMoved):
        await mate.handover.move(move.rtms_stream_id, move.to)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(_any_step, max_size=14),
    mode=st.sampled_from(["refuse", "evict"]),
    let_go_s=st.sampled_from([0.0, 0.8]),
)
def test_any_course_ends_with_one_owner_for_each_stream(
    steps: list[Step], mode: Literal["refuse", "evict"], let_go_s: float
) -> None:
    async def play() -> None:
        async with a_crew(*NODES) as crew:
            crew.zoom.mode, crew.let_go_s = mode, let_go_s
            for mate in crew.mates.values():
                mate.lives.let_go_s = let_go_s
            course = Course(crew)
            for step in steps:
                await course.play(step)
            await course.calm_down()
            course.check_calm()
            course.check_answered()

    run_jumping(play)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(posts=st.lists(st.tuples(_commands, _nodes, st.one_of(st.none(), _nodes)), max_size=12))
def test_verdicts_are_those_of_a_single_process(posts: list[tuple[StreamCommand, str, str | None]]) -> None:
    """Also when members die between webhooks."""

    async def play() -> None:
        known = {name: Known() for name in "stu"}
        async with a_crew(*NODES) as crew:
            for command, node, dies in posts:
                if dies is not None:
                    await crew.kill(dies)
                    await crew.begin(dies)
                await trio.sleep(5)
                verdict, after = judge(
                    known[command.rtms_stream_id],
                    _as_received(command, known[command.rtms_stream_id]),
                    other_apps=frozenset({"other"}),
                    received_ms=T0_MS,
                )
                assert await crew.mates[node].router.accept(command) is verdict
                if after.row is not None and after.row.stop_reason is not None and not after.row.closed:
                    closed = close(after.row, reason=after.row.stop_reason, ended_ms=T0_MS)
                    after = attrs.evolve(after, row=closed or after.row)
                if after.row is not None:  # the engine in memory keeps nothing of what nobody owned ever
                    known[command.rtms_stream_id] = after

    run_jumping(play)


def _as_received(command: StreamCommand, known: Known) -> StreamCommand:
    """A stop without a time, of a stream that does not live, is of now."""
    is_live = known.row is not None and not known.row.closed
    if command.event_ts is None and not is_live and not isinstance(command, StartStream):
        return attrs.evolve(command, event_ts=T0_MS)
    return command
