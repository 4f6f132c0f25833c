"""The plot of a benchmark: CPU time for a message, and p99, against the number of streams.

Run as a script, where matplotlib is installed: `plot.py RESULTS.json PLOT.png`.
"""

import importlib
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any


def main() -> None:
    results, target = json.loads(Path(sys.argv[1]).read_text()), sys.argv[2]
    plt: Any = importlib.import_module("matplotlib.pyplot")
    figure, axes = plt.subplots(2, 2, figsize=(13, 9), squeeze=False)
    panels = (
        (axes[0][0], "flood: CPU time for a message (µs)", "cpu_us", False),
        (axes[0][1], "paced, 20 ms: CPU time for a message (µs)", "cpu_us", True),
        (axes[1][0], "paced, 20 ms: p99 from write to tap or callback (ms)", "p99_ms", True),
        (axes[1][1], "paced, 20 ms: % of a core", "core_percent", True),
    )
    for axis, title, field, is_paced in panels:
        for label, points in sorted(lines(results["cells"], field, is_paced).items()):
            axis.plot(
                *zip(*sorted(points), strict=True), marker="o", label=label, linewidth=3 if "rtmsd" in label else 1
            )
        axis.set(title=title, xlabel="streams", xscale="log", yscale="log")
        axis.grid(True, which="both", alpha=0.3)
        axis.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(target, dpi=120)


def lines(cells: list[dict[str, Any]], field: str, is_paced: bool) -> dict[str, list[tuple[int, float]]]:
    """Points by client and transport: the median of the rounds, audio only."""
    found: dict[str, list[tuple[int, float]]] = {}
    for cell in cells:
        load = cell["load"]
        values = [each[field] for each in cell["rounds"] if each[field]]
        if values and load["media"] == "audio" and load["period_ms"] == (20 if is_paced else 0):
            label = f"{cell['client']}{', TLS' if load['tls'] else ''}"
            found.setdefault(label, []).append((load["streams"], median(values)))
    return found


if __name__ == "__main__":
    main()
