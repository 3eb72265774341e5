"""A run in words and rows: what it is, its recipe, and what each choice of scales told and cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perimetry.report.numbers import megabytes, plain
from perimetry.report.score_text import number, score_name

if TYPE_CHECKING:
    from perimetry.prediction.evaluating import Choice, Evaluated
    from perimetry.training.cost import TrainingCost


def abstract(evaluated: Evaluated) -> str:
    """What was evaluated on what."""
    run = evaluated.run
    where = "all images" if evaluated.split is None else f"split {evaluated.split}"
    data = Path(evaluated.data).name or evaluated.data
    parts = [run.recipe.task, f"{run.checkpoint} checkpoint after step {run.step}", f"{data}, {where}"]
    return plain(" · ".join(parts))


def cost_text(cost: TrainingCost) -> str:
    """What training took.

    >>> from types import SimpleNamespace
    >>> cost_text(SimpleNamespace(seconds=163.4, peak_bytes=2**30, device="cpu", threads=2))
    '0:02:43 on cpu (2 threads), at most 1074 MB'
    """
    seconds = round(cost.seconds)
    time = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    threads = f" ({cost.threads} thread{'s' if cost.threads != 1 else ''})" if cost.device == "cpu" else ""
    memory = "" if cost.peak_bytes is None else f", at most {megabytes(cost.peak_bytes)} MB"
    return f"{time} on {plain(cost.device)}{threads}{memory}"


def choice_name(choice: Choice) -> str:
    """The scales, and the flip or the crops.

    >>> from types import SimpleNamespace
    >>> choice_name(SimpleNamespace(scales=(0.75, 1.0), flip="horizontal", crops="centre"))
    '×0.75 ×1, mirrored too'
    """
    scales = " ".join(f"×{scale:g}" for scale in choice.scales)
    mirrored = ", mirrored too" if choice.flip == "horizontal" else ""
    return scales + (", ten crops" if choice.crops == "ten" else mirrored)


def choice_rows(evaluated: Evaluated) -> tuple[list[str], list[list[str]]]:
    """Headings and a row for each choice: its scales, its scores, recall by size, seconds an image, the most memory."""
    names = list(evaluated.choice.headlines())
    sizes = list(evaluated.choice.by_size())
    rows = []
    for choice in evaluated.choices:
        found = choice.headlines()
        seconds = f"{choice.seconds:.3g}"
        memory = "–" if choice.peak_bytes is None else megabytes(choice.peak_bytes)
        recalls = (number(choice.by_size()[name]["ar100"]) for name in sizes)
        rows.append([choice_name(choice), *(number(found.get(name)) for name in names), *recalls, seconds, memory])
    told = [*map(score_name, names), *(f"AR100, {name}" for name in sizes)]
    return ["scales", *told, "s an image", "MB"], rows


def recipe_rows(evaluated: Evaluated) -> list[tuple[str, str]]:
    """Every key of the recipe and its value."""
    return [(name, plain(_text(value))) for name, value in evaluated.run.recipe.to_dict().items()]


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value) or "–"
