"""The plot of a benchmark: the goals at the left, and beside them what the clients cost.

Run as a script, where matplotlib is installed: `plot.py RESULTS.json PLOT.png`.
"""

import importlib
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

_OURS = {"rtmsd": "#0b5fa5", "rtmsd, tapped": "#e07b00", "rtmsd receive only": "#6db3e8"}
_PEERS = {  # greys and pale colours: what rtmsd is compared with
    "picows": "#2e7d32",
    "Node ws": "#8d6e63",
    "aiohttp": "#9e9e9e",
    "websockets + json": "#b39ddb",
    "Zoom rtms": "#c2185b",
    "trio-websocket": "#c0b283",
    "msgspec alone": "#dddddd",
    "Node alone": "#dddddd",
}
_COLOURS = {**_OURS, **_PEERS}
_VERDICTS = {"reached": "#2e7d32", "missed": "#c62828", "not measured": "#bbbbbb"}
_MOST_TIMES = 8  # a goal missed or passed by more is drawn as by so much


def main() -> None:
    results, target = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
    plt: Any = importlib.import_module("matplotlib.pyplot")
    figure = plt.figure(figsize=(26, 14), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=(1.35, 1, 1))
    cells = results["cells"]
    _draw_goals(figure.add_subplot(grid[:, 0]), results["goals"])
    _draw_bars(
        figure.add_subplot(grid[0, 1]), cells, "cpu_us", ("audio", 20), "flood, 20 audio: CPU for a message (µs)"
    )
    _draw_bars(
        figure.add_subplot(grid[1, 1]), cells, "payload_mb_per_s", ("video", 1), "flood, 1 video: MB per CPU-second"
    )
    named: list[Any] = []
    for row, field, title in ((0, "cpu_us", "CPU for a message (µs)"), (1, "p99_ms", "p99 to tap or callback (ms)")):
        axis = figure.add_subplot(grid[row, 2])
        axis.set(title=f"paced audio, 20 ms: {title}", xlabel="streams", xscale="log", yscale="log")
        _draw_lines(axis, lines(cells, field, "audio", 20))
        axis.xaxis.set_major_formatter("{x:g}")
        axis.grid(True, which="both", alpha=0.25)
        named = named or axis.get_legend_handles_labels()[0]
    if named:  # those of the upper panel, which has every client
        axis.legend(handles=named, loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=3)
    figure.savefig(target, dpi=80)


def _draw_goals(axis: Any, goals: list[dict[str, Any]]) -> None:
    """A bar for each goal: to the right as many times better than its limit, to the left as many times worse."""
    reached = sum(goal["verdict"] == "reached" for goal in goals)
    measured = sum(goal["verdict"] != "not measured" for goal in goals)
    for place, goal in enumerate(goals):
        times = bar_times(goal)
        colour = _VERDICTS[goal["verdict"]]
        axis.barh(place, times - 1, left=1, color=colour, height=0.62)
        shown = "not measured" if goal["measured"] is None else f"{_short(goal['measured'])}  ({goal['goal']})"
        is_right = times >= 1
        axis.annotate(
            shown,
            (times, place),
            xytext=(5 if is_right else -5, 0),
            textcoords="offset points",
            ha="left" if is_right else "right",
            va="center",
            color=colour,
        )
    axis.axvline(1, color="black", linewidth=1)
    axis.set(
        title=f"goals: {reached} of {measured} reached; right of the line: better than the limit, so many times",
        xscale="log",
        xlim=(1 / (4 * _MOST_TIMES), 4 * _MOST_TIMES),
        ylim=(len(goals) - 0.4, -0.6),
        yticks=range(len(goals)),
        yticklabels=[goal["name"] for goal in goals],
    )
    ticks = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
    axis.set_xticks(ticks, labels=[f"{tick:g}" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.grid(True, axis="x", alpha=0.25)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def bar_times(goal: dict[str, Any]) -> float:
    """How many times better than its limit a goal is drawn. Where nothing may be lost, any loss is the whole bar."""
    if goal["times_better"] is None:
        return 1 / _MOST_TIMES if goal["verdict"] == "missed" else 1.0
    return float(min(_MOST_TIMES, max(1 / _MOST_TIMES, goal["times_better"])))


def _draw_bars(axis: Any, cells: list[dict[str, Any]], field: str, of: tuple[str, int], title: str) -> None:
    """A bar for each client, plain; a diamond where it has TLS."""
    media, streams = of
    found = {
        label: value
        for label, points in lines(cells, field, media, 0).items()
        if (value := dict(points).get(streams)) is not None
    }
    clients = [client for client in _COLOURS if client in found]
    labels = []
    for place, client in enumerate(clients):
        value, tls = found[client], found.get(f"{client}, TLS")
        axis.barh(place, value, color=_COLOURS[client], height=0.7)
        labels.append(f"{client}  {_short(value)}" + ("" if tls is None else f" / {_short(tls)}"))
        if tls is not None:
            axis.plot([tls], [place], marker="D", color="black", markersize=7)
    axis.set(title=f"{title}; plain / TLS", yticks=range(len(clients)), yticklabels=labels, xscale="log")
    for formatter in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
        formatter("{x:g}")
    axis.tick_params(axis="x", which="both", labelrotation=60, labelsize="small")
    axis.invert_yaxis()
    axis.set_xlim(left=min(found.values(), default=1) / 2)  # so that the shortest bar is still one
    axis.grid(True, axis="x", which="both", alpha=0.25)


def _draw_lines(axis: Any, found: dict[str, list[tuple[int, float]]]) -> None:
    for label, points in sorted(found.items()):
        is_tls = label.endswith(", TLS")
        client = label.removesuffix(", TLS")
        if is_tls and client not in _OURS:
            continue
        axis.plot(
            *zip(*sorted(points), strict=True),
            "--" if is_tls else "-",
            marker="o",
            label=label,
            color=_COLOURS.get(client),
            linewidth=3 if client in _OURS else 1.5,
        )
    for formatter in (axis.yaxis.set_major_formatter, axis.yaxis.set_minor_formatter):
        formatter("{x:g}")


def lines(cells: list[dict[str, Any]], field: str, media: str, period_ms: int) -> dict[str, list[tuple[int, float]]]:
    """Points by client and transport: the median of the rounds."""
    found: dict[str, list[tuple[int, float]]] = {}
    for cell in cells:
        load = cell["load"]
        values = [each[field] for each in cell["rounds"] if each[field]]
        if values and load["media"] == media and load["period_ms"] == period_ms:
            label = f"{cell['client']}{', TLS' if load['tls'] else ''}"
            found.setdefault(label, []).append((load["streams"], median(values)))
    return found


if __name__ == "__main__":
    main()
