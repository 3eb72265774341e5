"""What scoring told, for a terminal: the totals, a row for each class, the worst images, and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perimetry.metrics.unavailable import Unavailable
from perimetry.report.columns import Column, display_width, fitted_widths, pad, table_row, wrap
from perimetry.report.numbers import plain

if TYPE_CHECKING:
    from perimetry.scoring.results import Scored

WORST = 5
MOST_CLASSES = 40
_NARROWEST = 40
_NONE = "–"
_ITEMS = {"masks": "image", "boundaries": "image", "boxes": "image", "labels": "row"}
# Groups of scores that are no classes: each is a row of its own, whose columns are the names inside.
_GROUPS = ("components", "macro", "micro", "weighted", "average_recall")
_LEFT_TO_FILES = ("proposal_recall", "tpr")  # tpr is recall
_NAMES = {
    "miou": "mean IoU",
    "iou": "IoU",
    "frequency_weighted_iou": "weighted IoU",
    "mean_dice": "mean Dice",
    "dice": "Dice",
    "isbi_error": "ISBI error",
    "isbi_threshold": "at threshold",
    "v_rand": "V-Rand",
    "v_info": "V-Info",
    "rand_error": "Rand error",
    "rand_f_error": "Rand F error",
    "adapted_rand_error": "adapted Rand error",
    "variation_of_information_split": "VI of splits",
    "variation_of_information_merge": "VI of merges",
    "average_surface_distance": "surface distance",
    "hausdorff": "Hausdorff",
    "boundary_f": "boundary F",
    "boundary_iou": "boundary IoU",
    "components": "in groups",
    "voc07_map": "VOC 2007 mAP",
    "voc07_ap": "VOC 2007 AP",
    "voc_map": "VOC 2010 mAP",
    "voc_ap": "VOC 2010 AP",
    "coco_ap": "COCO AP",
    "coco_ap_by_class": "COCO AP",
    **{f"ap{which}": f"AP{which}" for which in ("50", "75")},
    **{f"ap_{size}": f"AP {size}" for size in ("small", "medium", "large")},
    **{f"ar{which}": f"AR{which}" for which in ("1", "10", "100")},
    **{f"ar_{size}": f"AR {size}" for size in ("small", "medium", "large")},
    **{f"top{k}": f"top-{k}" for k in range(1, 11)},
    "recall50": "recall at 0.50",
    "min_score": "from score",
    "f1": "F1",
    "best_f1": "best F1",
    "mcc": "Matthews",
    "roc_area": "ROC area",
    "tpr": "TPR",
    "fpr": "FPR",
    "tnr": "TNR",
    "fnr": "FNR",
    "npv": "NPV",
}


def score_text(scored: Scored, *, width: int, color: bool = False) -> str:
    """The result as lines of at most `width` columns (no less than 40), without a newline at the end.

    color: bold, for terminals.

    >>> from perimetry.scoring.results import ImageScore, Scored
    >>> print(score_text(Scored("masks", {}, (ImageScore("a", {"miou": 0.5}),), {"miou": 0.5}), width=60))
    masks · 1 image
    <BLANKLINE>
    mean IoU  0.5000
    """
    width = max(width, _NARROWEST)
    bold, end = ("\x1b[1m", "\x1b[0m") if color else ("", "")
    parts = [[f"{bold}{line}{end}" for line in wrap(_title(scored), width)]]
    parts.append(_totals(scored, width))
    parts += _classes(scored, width)
    parts.append(_worst(scored, width))
    parts.append([line for note in _notes(scored) for line in wrap(f"note: {plain(note)}", width)])
    return "\n\n".join("\n".join(part) for part in parts if part)


def score_name(name: str) -> str:
    """A score's name for people.

    >>> score_name("miou"), score_name("pixel_error")
    ('mean IoU', 'pixel error')
    """
    return _NAMES.get(name, plain(name).replace("_", " "))


def number(value: Any) -> str:
    """A score: counts in full, others to four places; a dash for what is unavailable.

    >>> number(12345), number(0.87654), number(0.00012345), number(Unavailable("no positive"))
    ('12345', '0.8765', '0.000123', '–')
    """
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, float):
        return _NONE
    if 0 < abs(value) < 0.001:
        return f"{value:.3g}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def _title(scored: Scored) -> str:
    """What was scored, how much of it, and the settings that are not the usual."""
    item, count = _ITEMS[scored.kind], len(scored.images)
    parts = [scored.kind, f"{count} {item}{'' if count == 1 else 's'}"]
    if scored.classes:
        parts.append(f"{len(scored.classes)} class{'' if len(scored.classes) == 1 else 'es'}")
    for name in ("ignore", "threshold", "iou", "positive"):
        value = scored.settings.get(name)
        if value is not None:
            parts.append(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {plain(str(value))}")
    return " · ".join(parts)


def _totals(scored: Scored, width: int) -> list[str]:
    """A row for each score of all images, with its interval; groups on rows of their own."""
    found: list[tuple[str, str]] = []
    for name, value in scored.total.items():
        if name in _LEFT_TO_FILES:
            continue
        if isinstance(value, Mapping):
            if name in _GROUPS:
                found.append((score_name(name), _together(value)))
            elif name == "by_size":
                for size, each in value.items():
                    assert isinstance(each, Mapping)
                    found.append(("all sizes" if size == "all" else f"{size} px", _together(each)))
            continue
        text = f"unavailable: {plain(value.reason)}" if isinstance(value, Unavailable) else number(value)
        interval = scored.intervals.get(name)
        if interval is not None and not isinstance(interval, Unavailable):
            text += f"   {100 * interval.level:.0f} % in {number(interval.low)} … {number(interval.high)}"
        found.append((score_name(name), text))
    indent = max((display_width(name) for name, _ in found), default=0) + 2
    lines = []
    for name, text in found:
        first, *more = wrap(text, max(width - indent, 20))
        lines += [pad(name, indent, "left") + first, *(" " * indent + line for line in more)]
    return lines


def _together(group: Mapping[str, Any]) -> str:
    """The scores of a group one after the other."""
    return ", ".join(f"{score_name(key)} {number(each)}" for key, each in group.items())


def _classes(scored: Scored, width: int) -> list[list[str]]:
    """Tables with a row for each class, side by side as far as they fit."""
    scores = {
        name: value
        for name, value in scored.total.items()
        if isinstance(value, Mapping) and name not in (*_GROUPS, *_LEFT_TO_FILES, "by_size")
    }
    labels = [label for label in scored.classes if any(label in each for each in scores.values())]
    if not scores or not labels:
        return []
    shown = labels[:MOST_CLASSES]
    tables = []
    names = list(scores)
    while names:
        taken = len(names)
        while taken > 1 and fitted_widths(*_table(shown, scores, names[:taken]), width) is None:
            taken -= 1
        tables.append(_lines(*_table(shown, scores, names[:taken]), width))
        names = names[taken:]
    if len(labels) > len(shown):
        tables[-1] += wrap(f"and {len(labels) - len(shown)} more classes, which --json and --html tell", width)
    return tables


def _table(
    labels: Sequence[str], scores: Mapping[str, Mapping[str, Any]], names: Sequence[str]
) -> tuple[list[Column], list[list[str]]]:
    columns = [Column("class", "left", 12), *(Column(score_name(name)) for name in names)]
    rows = [[plain(label), *(number(scores[name].get(label)) for name in names)] for label in labels]
    return columns, rows


def _lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """A table with its headings; where nothing fits, at the width that it needs."""
    widths = fitted_widths(columns, rows, width) or fitted_widths(columns, rows, 10_000)
    assert widths is not None  # everything fits there
    headings = [column.heading for column in columns]
    return [line for cells in (headings, *rows) for line in table_row(cells, columns, widths)]


def _worst(scored: Scored, width: int) -> list[str]:
    """The images that scored worst, where there are more than a few and they differ."""
    ranked = scored.worst_first()
    if len({number(image.scores[scored.headline]) for image in ranked}) < 2:
        return []
    if scored.kind == "labels":
        columns = [Column("wrong", "left", 12), Column("truth", "left", 8), Column("told", "left", 8)]
        wrong = [image for image in ranked if not image.scores[scored.headline]][:WORST]
        rows = [[plain(text) for text in (each.name, each.facts["truth"], each.facts["predicted"])] for each in wrong]
    else:
        columns = [Column("worst", "left", 12), Column(score_name(scored.headline))]
        rows = [[plain(image.name), number(image.scores[scored.headline])] for image in ranked[:WORST]]
    return _lines(columns, rows, width)


def _notes(scored: Scored) -> list[str]:
    """The notes, and why intervals are missing."""
    missing = [
        f"no interval of {score_name(name)}: {each.reason}"
        for name, each in scored.intervals.items()
        if isinstance(each, Unavailable)
    ]
    return [*scored.notes, *missing]
