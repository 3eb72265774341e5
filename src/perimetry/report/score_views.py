"""Scores in words and rows: totals, classes, settings and images, as the page's tables tell them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from perimetry.metrics.unavailable import Unavailable
from perimetry.report.numbers import plain
from perimetry.report.score_words import NONE, meaning_of, name_of, path_name, setting_text, value_text

if TYPE_CHECKING:
    from perimetry.scoring.results import ImageScore, Scored

    Value = float | Unavailable | Mapping[str, Any]

# What a detection is, or, the last, an object.
DETECTIONS = ("true", "duplicate", "badly_localised", "background", "ignored", "missed")
MOST_BARS = 4  # columns of the table of classes up to which all have bars
MOST_ROWS = 100  # of the table of images
MOST_COLUMNS = 12  # of the same: scores by class and by group have no room there


@dataclass(frozen=True, slots=True)
class TotalRow:
    """One score of all images: what it is called and means, its value or why it has none, and its interval."""

    name: str
    meaning: str
    value: str
    reason: str
    interval: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns (name, meaning): each row its own name and a (text, reason) per column.

    bars: by row and column, the percentage that a bar under the number shows; left_out: columns without room.
    """

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    bars: dict[tuple[int, int], float] = field(default_factory=dict)
    left_out: int = 0


def leaves(scores: Mapping[str, Value]) -> Iterator[tuple[tuple[str, ...], float | Unavailable]]:
    """Each score that is no group, with the names that lead to it."""
    for name, score in scores.items():
        if isinstance(score, Mapping):
            for path, value in leaves(score):
                yield (name, *path), value
        else:
            yield (name,), score


def by_class(scored: Scored, value: object) -> bool:
    """Whether a score is told class by class."""
    return isinstance(value, Mapping) and bool(value) and set(value) <= set(scored.classes)


def totals(scored: Scored) -> list[TotalRow]:
    """The scores of all images together; the one by which images are ordered comes first.

    Left out is what other tables tell: scores by class, and what detections are.
    """
    rows = []
    for name in sorted(scored.total, key=lambda each: each != scored.headline):
        value = scored.total[name]
        if by_class(scored, value) or (scored.kind == "boxes" and name in DETECTIONS):
            continue
        for path, each in leaves({name: value}):
            interval = scored.intervals.get(".".join(path))
            rows.append(
                TotalRow(
                    name=path_name(path),
                    meaning=meaning_of(name) if len(path) == 1 else "",
                    value=value_text(each),
                    reason=_reason(each),
                    interval="" if interval is None else _interval_text(interval),
                )
            )
    return rows


def classes_table(scored: Scored) -> Table | None:
    """The scores by class, a row for each class in the order given; None where there are none."""
    names = [name for name, value in scored.total.items() if by_class(scored, value)]
    if not names:
        return None
    columns = []
    for name in names:
        inner = scored.total[name]
        assert isinstance(inner, Mapping)
        below = {path[1:] for path, _ in leaves({name: inner}) if len(path) > 1}
        deeper = sorted({path[1:] for path in below if len(path) > 1})
        columns += [(name, path) for path in deeper] or [(name, ())]
    rows = []
    shares: dict[int, dict[int, float]] = {}
    for row, label in enumerate(scored.classes):
        cells = []
        for column, (name, path) in enumerate(columns):
            value: Any = scored.total[name]
            for step in (label, *path):
                value = value.get(step) if isinstance(value, Mapping) else None
            cells.append((value_text(value), _reason(value)))
            if isinstance(value, (int, float)):
                shares.setdefault(column, {})[row] = float(value)
        rows.append((plain(label), tuple(cells)))
    drawn = [column for column, values in shares.items() if all(0 <= value <= 1 for value in values.values())]
    bars = {
        (row, column): round(100 * value, 1)
        for column in drawn[: MOST_BARS if len(columns) <= MOST_BARS else 1]
        for row, value in shares[column].items()
    }
    return Table(tuple((path_name((name, *path)), meaning_of(name)) for name, path in columns), tuple(rows), bars)


def settings(scored: Scored) -> list[tuple[str, str]]:
    """How it was done."""
    return [(plain(str(name)).replace("_", " "), setting_text(value)) for name, value in scored.settings.items()]


def kinds_of_detections(scored: Scored) -> list[tuple[str, str, str, str, float]]:
    """What detections are, and how many objects were missed: (kind, name, meaning, count, percent of the largest)."""
    counts = {kind: scored.total.get(kind) for kind in DETECTIONS}
    known = {kind: count for kind, count in counts.items() if isinstance(count, (int, float))}
    if scored.kind != "boxes" or not known:
        return []
    largest = max(*known.values(), 1)
    return [
        (kind, name_of(kind), meaning_of(kind), value_text(count), round(100 * count / largest, 1))
        for kind, count in known.items()
    ]


def images_table(scored: Scored) -> Table:
    """The images, the worst first, then those without the score by which they are ordered."""
    shown = images_in_order(scored)[:MOST_ROWS]
    facts = list(dict.fromkeys(name for image in shown for name in image.facts))
    names = [name for name in _flat_names(scored, shown) if name != scored.headline]
    names = [scored.headline, *names]
    left_out = max(0, len(names) - max(1, MOST_COLUMNS - len(facts)))
    names = names[: len(names) - left_out]
    rows = []
    for image in shown:
        cells = [(plain(image.facts.get(name, "")), "") for name in facts]
        values = [image.scores.get(name) for name in names]
        cells += [(value_text(value), _reason(value)) for value in values]
        rows.append((plain(image.name), tuple(cells)))
    columns = [(plain(name).replace("_", " "), "") for name in facts]
    columns += [(name_of(name), meaning_of(name)) for name in names]
    return Table(tuple(columns), tuple(rows), left_out=left_out)


def images_in_order(scored: Scored) -> list[ImageScore]:
    """All images: the worst first, then those that lack the headline's score."""
    ranked = scored.worst_first()
    seen = {id(image) for image in ranked}
    return [*ranked, *(image for image in scored.images if id(image) not in seen)]


def abstract(scored: Scored) -> str:
    """The page in a sentence: what was scored, and the score that counts most."""
    things = {"labels": "row"}.get(scored.kind, "image")
    counted = f"{len(scored.images):,}".replace(",", "\N{NO-BREAK SPACE}")
    parts = [f"{counted} {things}{'' if len(scored.images) == 1 else 's'}"]
    if scored.classes:
        parts.append(f"{len(scored.classes)} class{'' if len(scored.classes) == 1 else 'es'}")
    return ", ".join(parts)


def _flat_names(scored: Scored, images: list[ImageScore]) -> list[str]:
    names = dict.fromkeys(name for image in images for name, value in image.scores.items() if not _group(value))
    return [name for name in names if name not in scored.classes]


def _group(value: object) -> bool:
    return isinstance(value, Mapping)


def _reason(value: object) -> str:
    return plain(value.reason) if isinstance(value, Unavailable) else ""


def _interval_text(interval: Any) -> str:
    if isinstance(interval, Unavailable):
        return f"{NONE} ({plain(interval.reason)})"
    return f"{value_text(float(interval.low))} to {value_text(float(interval.high))}"
