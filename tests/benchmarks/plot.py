"""The plot of a benchmark: CPU time for a message, and p99, against the number of streams.

Run as a script, where matplotlib is installed: `plot.py RESULTS.json PLOT.png`.
"""

import importlib
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

_PERIOD_MS = {"audio": 20, "video": 200}  # `loads.PACED_MS`, which cannot be imported where this runs
_FIELDS = (("cpu_us", "CPU time for a message (µs)"), ("p99_ms", "p99 from write to tap or callback (ms)"))


def main() -> None:
    """One row of panels for each medium: floods, then paced."""
    results, target = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
    plt: Any = importlib.import_module("matplotlib.pyplot")
    figure, axes = plt.subplots(2, 4, figsize=(26, 11), squeeze=False)
    for row, (media, paced_ms) in zip(axes, _PERIOD_MS.items(), strict=True):
        panels = [(period_ms, *field) for period_ms in (0, paced_ms) for field in _FIELDS]
        for axis, (period_ms, field, title) in zip(row, panels, strict=True):
            pace = f"paced, {period_ms} ms" if period_ms else "flood"
            _draw(axis, lines(results["cells"], field, media, period_ms))
            axis.set(title=f"{media}, {pace}: {title}", xlabel="streams", xscale="log", yscale="log")
            axis.grid(True, which="both", alpha=0.3)
    figure.tight_layout()
    figure.savefig(target, dpi=120)


def _draw(axis: Any, found: dict[str, list[tuple[int, float]]]) -> None:
    for label, points in sorted(found.items()):
        style = "--" if label.endswith(", TLS") else "-"
        axis.plot(
            *zip(*sorted(points), strict=True), style, marker="o", label=label, linewidth=3 if "rtmsd" in label else 1
        )
    if found:
        axis.legend(fontsize="small")


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
