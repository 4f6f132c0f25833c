"""The view of a scene: a live screen on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterable
from typing import Final

import trio
from rich.console import Console, Group
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from rtmsd.demo.scene import Kind, Line, Said, Scene
from rtmsd.demo.stage import Pace
from rtmsd.terminal import printable

FRAME_S: Final = 0.1
BAR: Final = 24  # characters
HEAD: Final = 4  # lines
TOP: Final = 10
SMALLEST: Final = (80, 24)  # columns and lines below which a screen would show only half of it
FADE_MS: Final = 400  # of Zoom's time: older than this, a level is silence

STYLES: Final = {
    Kind.ACT: "bold cyan",
    Kind.FAULT: "bold yellow",
    Kind.GOOD: "green",
    Kind.BAD: "bold red",
    Kind.NOTE: "",
    Kind.DAEMON: "dim",
}
_MARKS: Final = {Kind.ACT: "==", Kind.FAULT: "!!", Kind.GOOD: "ok", Kind.BAD: "XX", Kind.NOTE: "  ", Kind.DAEMON: " ."}
_LINKS: Final = {"streaming": "green", "connecting": "yellow", "lost": "red", "refused": "red", "idle": "dim"}


def print_lines(scene: Scene, write: Callable[[str], None] = lambda text: print(text, flush=True)) -> None:
    """Print every event of the scene as it happens, one line each."""
    scene.on_line = lambda line: write(f"{line.at_s:7.1f} s  {_MARKS[line.kind]} {line.text}")
    scene.on_said = lambda said: write(f"{said.at_s:7.1f} s     {said.user_name}: {said.text}")


def has_room(console: Console) -> bool:
    """Whether the output is a terminal that can move its cursor, and large enough to draw on."""
    columns, lines = SMALLEST
    return console.is_terminal and not console.is_dumb_terminal and console.width >= columns and console.height >= lines


async def show(
    scene: Scene,
    pace: Pace,
    *,
    console: Console | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Draw the scene until cancelled; the terminal is restored."""
    began_s = time.monotonic()
    screen = Screen(scene, pace)
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        task_status.started()
        while True:
            live.update(screen.draw(time.monotonic() - began_s, live.console.height), refresh=True)
            await trio.sleep(FRAME_S)


class Screen:
    """Draws a scene."""

    def __init__(self, scene: Scene, pace: Pace) -> None:
        self._scene = scene
        self._pace = pace

    def draw(self, elapsed_s: float, height: int) -> Layout:
        scene = self._scene
        room = max(1, (height - HEAD - TOP - 4) // 2)  # the terminal may have been made smaller since
        top = Layout(name="top", size=TOP)
        top.split_row(
            Layout(Panel(self._voices(), title="who talks, as the daemon hears it", border_style="blue")),
            Layout(Panel(self._connections(), title="the daemon", border_style="blue")),
        )
        speed = "" if self._pace.speed == 1 else f", time runs {self._pace.speed:g} times as fast"
        part = f"part {scene.act} of {scene.acts}  " if scene.act else ""
        head = Text.assemble(
            (" rtmsd demo ", "reverse"), f"  {part}{scene.age_s():6.1f} s of the session{speed} ({elapsed_s:.0f} s)\n"
        )
        act = next((line.text for line in reversed(scene.lines) if line.kind is Kind.ACT), "Starting ...")
        head.append(act, STYLES[Kind.ACT]).append("\n")
        latest = next((line for line in reversed(scene.lines) if line.kind not in (Kind.ACT, Kind.DAEMON)), None)
        if latest is not None:
            head.append(latest.text, STYLES[latest.kind])
        layout = Layout()
        if scene.processes:
            streams = Panel(self._streams(), title="streams", border_style="blue")
            layout.split_column(
                Layout(head, size=HEAD),
                Layout(streams, ratio=1),
                Layout(
                    Panel(self._processes(), title=f"{scene.noun}s", border_style="blue"), size=len(scene.processes) + 2
                ),
                Layout(Panel(_lines(list(scene.lines)[-room:]), title="what happens", border_style="blue"), ratio=1),
            )
            return layout
        layout.split_column(
            Layout(head, size=HEAD),
            top,
            Layout(Panel(_lines(list(scene.said)[-room:]), title="transcript", border_style="blue")),
            Layout(Panel(_lines(list(scene.lines)[-room:]), title="what happens", border_style="blue")),
        )
        return layout

    def _processes(self) -> Table:
        table = Table.grid(padding=(0, 1))
        owners = [stream.get("worker") for stream in self._scene.streams.values() if stream.get("ended_ms") is None]
        for name, state in sorted(self._scene.processes.items()):
            style = "green" if state.startswith("process") else "bold red"
            table.add_row(f"{self._scene.noun} {name}", Text(state, style=style), f"{owners.count(name)} streams")
        return table

    def _streams(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for rtms_stream_id, stream in self._scene.streams.items():
            state = str(stream.get("state"))
            style = "green" if state == "active" else "dim" if state == "ended" else "yellow"
            table.add_row(rtms_stream_id[:8], f"{self._scene.noun} {stream.get('worker')}", Text(state, style=style))
        return table

    def _voices(self) -> Table:
        table = Table.grid(padding=(0, 1))
        newest_ms = max((voice.at_ms for voice in self._scene.voices.values()), default=0)
        for voice in list(self._scene.voices.values()):
            level = voice.level if newest_ms - voice.at_ms <= FADE_MS and self._scene.daemon_is_up else 0.0
            filled = round(level * BAR)
            bar = Text("█" * filled + "·" * (BAR - filled), style="green" if filled < BAR * 0.8 else "yellow")
            name = Text(printable(voice.user_name), style="bold" if filled else "" if voice.present else "dim strike")
            table.add_row(name, bar, "" if voice.present else "left")
        return table

    def _connections(self) -> Group:
        scene, stream = self._scene, self._scene.stream
        if not scene.daemon_is_up:
            return Group(Text("no answer on its admin socket", style="bold red"))
        links = Text()
        signaling = "up" if stream.get("signaling_up") else "down"
        links.append("signaling ").append(signaling, style="green" if signaling == "up" else "red")
        for link in stream.get("links", []):
            links.append(f"  {'+'.join(link['media'])} ").append(link["state"], style=_LINKS.get(link["state"], ""))
        asked = stream.get("keep_alives", {})
        counters = stream.get("counters", {})
        gaps = stream.get("gaps", [])
        rows = [
            Text(f"stream {stream.get('state', '-')}", style="bold"),
            links,
            Text(f"keep-alives {asked.get('signaling', 0)} signaling, {asked.get('media', 0)} media"),
            Text(f"messages {', '.join(f'{n} {media}' for media, n in counters.get('messages', {}).items()) or '-'}"),
            Text(
                f"duplicates {counters.get('duplicates', 0)}, corrupt {counters.get('corrupt', 0)}, "
                f"dropped {counters.get('dropped', 0)}"
            ),
            Text(f"gaps: {_gaps(gaps)}"),
        ]
        return Group(*rows)


def _gaps(gaps: list[dict[str, object]]) -> str:
    last = [f"{gap['media']} ({gap['cause']}{', open' if gap['to_ms'] is None else ''})" for gap in gaps[-2:]]
    return f"{len(gaps)}, last: {', '.join(last)}" if gaps else "none"


def _lines(lines: Iterable[Line | Said]) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    for line in lines:
        text.append(f"{line.at_s:6.1f} ", style="dim")
        if isinstance(line, Said):
            text.append(f"{line.user_name}: ", style="bold")
        text.append(f"{line.text}\n", style=STYLES[line.kind] if isinstance(line, Line) else "")
    return text
