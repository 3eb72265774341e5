"""Averages over classes: micro, macro and weighted, which leave out what is not defined."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from perimetry.errors import InputError, UnknownNameError
from perimetry.metrics.decisions import Decisions
from perimetry.metrics.unavailable import Score, Unavailable

Rate = Literal[
    "tpr", "recall", "fpr", "tnr", "fnr", "precision", "npv", "accuracy", "balanced_accuracy", "f1", "iou", "mcc"
]
RATES: tuple[Rate, ...] = get_args(Rate)


@dataclass(frozen=True, slots=True)
class ClassDecisions:
    """Each class's decisions, that class against all others, and their averages.

    A rate is one of `RATES` by name, or a function of `Decisions`.

    >>> seen = ClassDecisions((Decisions(tp=3, fp=1, tn=5, fn=1), Decisions(tp=1, fp=1, tn=8, fn=0)))
    >>> seen.macro("recall"), seen.weighted("recall"), seen.micro("recall")
    (0.875, 0.8, 0.8)
    >>> seen.macro(lambda decisions: decisions.f_beta(2))
    0.7916666666666667
    """

    each: tuple[Decisions, ...]

    def __post_init__(self) -> None:
        if not self.each:
            raise InputError("expected the decisions of one class or more, got none")

    def __len__(self) -> int:
        return len(self.each)

    def __getitem__(self, index: int) -> Decisions:
        return self.each[index]

    @property
    def pooled(self) -> Decisions:
        """All classes' decisions added up."""
        return sum(self.each[1:], start=self.each[0])

    def rates(self, rate: Rate | Callable[[Decisions], Score]) -> tuple[Score, ...]:
        """The rate of each class."""
        if callable(rate):
            return tuple(rate(decisions) for decisions in self.each)
        if rate not in RATES:
            raise UnknownNameError("rate", rate, known=RATES, advice="one of " + ", ".join(RATES))
        return tuple(getattr(decisions, rate) for decisions in self.each)

    def micro(self, rate: Rate | Callable[[Decisions], Score]) -> Score:
        """The rate of all decisions pooled: frequent classes count more."""
        return ClassDecisions((self.pooled,)).rates(rate)[0]

    def macro(self, rate: Rate | Callable[[Decisions], Score]) -> Score:
        """The mean of the classes' rates, over the classes where the rate is defined."""
        return mean_of(self.rates(rate), "no class has this rate")

    def weighted(self, rate: Rate | Callable[[Decisions], Score]) -> Score:
        """The mean of the classes' rates where defined, each weighted by its true positives and false negatives."""
        weights = [decisions.positives for decisions in self.each]
        return weighted_mean_of(self.rates(rate), weights, "no class with a positive has this rate")


def mean_of(scores: Sequence[Score], otherwise: str) -> Score:
    """The mean of the scores that there are; `Unavailable(otherwise)` where there is none.

    >>> mean_of([0.5, Unavailable("no positive"), 1.0], "no class has a score")
    0.75
    """
    return weighted_mean_of(scores, [1] * len(scores), otherwise)


def weighted_mean_of(scores: Sequence[Score], weights: Sequence[int], otherwise: str) -> Score:
    """The weighted mean of the scores that there are, over the weights of those scores.

    >>> weighted_mean_of([0.5, 1.0], [3, 1], "no class has a score")
    0.625
    """
    told = [
        (score, weight) for score, weight in zip(scores, weights, strict=True) if not isinstance(score, Unavailable)
    ]
    whole = sum(weight for _, weight in told)
    return math.fsum(score * weight for score, weight in told) / whole if whole else Unavailable(otherwise)
