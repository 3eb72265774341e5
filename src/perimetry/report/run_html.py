"""A run as one HTML page: its curves, its scores by class, what it tells of samples, the worst, and its recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perimetry.report.numbers import plain
from perimetry.report.pages import page_parts, template
from perimetry.report.run_mined import mined_samples, round_words
from perimetry.report.run_plots import run_plots
from perimetry.report.run_samples import legend, samples, told_wrong
from perimetry.report.run_words import abstract, choice_rows, cost_text, recipe_rows
from perimetry.report.score_html import score_context

if TYPE_CHECKING:
    from perimetry.prediction.evaluating import Evaluated


def run_html(evaluated: Evaluated) -> str:
    """The evaluation of a run as one HTML file: it asks the network for nothing, and opens from disk.

    It is the page of scores (`perimetry.report.score_html.score_html`) with the run around it: the losses and scores
    that training logged, samples with predictions, and the recipe with its versions.
    """
    run = evaluated.run
    drawn = run_plots(run.metrics())
    headings, rows = choice_rows(evaluated)
    context = score_context(evaluated.scored, more_plots=drawn)
    shown = samples(evaluated.scored, evaluated.photos)
    rounds, cost = run.mined(), run.cost()
    styles, scripts = ["report.css", "score.css", "data.css", "run.css"], ["theme.js", "score_plots.js", "score.js"]
    page: str = template("run.html.j2").render(
        **context,
        **page_parts(styles, scripts),
        run_name=plain(run.path.resolve().name),
        run_abstract=abstract(evaluated),
        run_plots=drawn,
        headings=headings,
        choices=rows,
        samples=shown,
        legend=legend(evaluated.scored, shown),
        told_wrong=told_wrong(evaluated.scored, evaluated.photos),
        rounds=round_words(rounds),
        mined=mined_samples(rounds, evaluated.mined_photos(), run.classes),
        recipe=recipe_rows(evaluated),
        versions=[(plain(name), plain(text)) for name, text in run.versions().items()],
        cost=None if cost is None else cost_text(cost),
        weights=run.weights,
    )
    return page
