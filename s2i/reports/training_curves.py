"""Training curves on a page: each loss on axes of its own, with what good looks like under it."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from s2i.reports.charts import Curve, line_chart
from s2i.runs.run import Run

Points = list[tuple[float, float]]
Runs = dict[str, dict[str, Run]]  # modality -> "generator", "encoder" -> run, where its log is at hand
GOOD = {
    "retrieval": "Good: it rises and levels off. A late fall is overfitting.",
    "encoder": "Good: it falls and levels off.",
    "discriminator": "Good: it levels off above 0. Near 0 the discriminator has won, and the generator learns"
    " nothing more.",
    "generator": "Good: it stays in one range. A steady rise says that the discriminator is winning.",
}


def training_charts(runs: Runs) -> str:
    """Validation and losses of the encoders, then, size by size, both players' adversarial terms."""
    charts = [
        _chart(runs, f"Encoder: {name} on validation captions", GOOD["retrieval"], "encoder", points)
        for name, points in (
            ("mAP", partial(_measured, metric="mAP")),
            ("Recall@1", partial(_measured, metric="recall@1")),
        )
    ]
    loss = partial(_logged, pattern="loss/all")
    charts.append(_chart(runs, "Encoder: matching loss", GOOD["encoder"], "encoder", loss))
    for size in _sizes(runs):
        for player, pattern in (
            ("discriminator", rf"d_{size}(_\w+)?/(?!penalty)"),
            ("generator", rf"g_{size}(_\w+)?/"),
        ):
            points = partial(_logged, pattern=pattern)
            name = f"{player.capitalize()}, {size} px: its adversarial terms, summed"
            charts.append(_chart(runs, name, GOOD[player], "generator", points))
    shown = "".join(charts)
    return f'<div class="charts">{shown}</div>' if shown else ""


def _chart(runs: Runs, name: str, good: str, kind: str, points: Callable[[Run], Points]) -> str:
    curves = [
        Curve(modality, modality, False, points(of_modality[kind]))
        for modality, of_modality in runs.items()
        if kind in of_modality
    ]
    return line_chart(name, curves, note=good)


def _sizes(runs: Runs) -> list[int]:
    """Sides in px of the images that some discriminator scored."""
    return sorted(
        {
            int(matched[1])
            for of_modality in runs.values()
            for line in (of_modality["generator"].read_log() if "generator" in of_modality else [])
            for key in line
            if (matched := re.match(r"[dg]_(\d+)\w*/", key))
        }
    )


def _measured(run: Run, metric: str) -> Points:
    return [
        (line["step"], line["value"])
        for line in run.read_metrics()
        if line.get("metric") == metric and line.get("split") == "val" and "step" in line
    ]


def _logged(run: Run, pattern: str) -> Points:
    """The sum, step by step, of what is logged under names that begin as `pattern`."""
    points = []
    for line in run.read_log():
        terms = [value for name, value in line.items() if re.match(pattern, name) and value is not None]
        if terms:
            points.append((line["step"], sum(terms)))
    return points
