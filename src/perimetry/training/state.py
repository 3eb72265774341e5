"""What changes while a run goes on: network, optimiser, step; kept in checkpoints and taken up from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from perimetry.errors import FileError, InputError
from perimetry.networks import freeze
from perimetry.training.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from perimetry.training.optimizers import make_optimizer, parameter_groups
from perimetry.training.precision import chosen_format
from perimetry.training.recipe import Recipe
from perimetry.training.run_directory import RunDirectory
from perimetry.training.schedules import rate_factor
from perimetry.training.step import NotFiniteError
from perimetry.training.transfer import freeze_norms


@dataclass(slots=True, eq=False)
class State:
    """Where a run stands.

    step: steps done; learnt: names of the images of the last one; scores: of the last evaluation; best: the best
    one's, with its step.
    """

    network: nn.Module
    optimizer: Optimizer
    recipe: Recipe
    rates: list[float]
    step: int = 0
    learnt: tuple[str, ...] = ()
    scores: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def begin(cls, network: nn.Module, recipe: Recipe, device: torch.device) -> State:
        """The network on its device, frozen as asked, and its optimiser."""
        network = network.to(device, memory_format=chosen_format(recipe.memory_format, network))  # type: ignore[call-overload]
        if recipe.freeze:
            freeze(network, *recipe.freeze)
        groups = parameter_groups(
            network, rate=recipe.rate, decay=recipe.decay, exempt=recipe.decay_exempt, multipliers=recipe.multipliers
        )
        optimizer = make_optimizer(groups, name=recipe.optimizer, rate=recipe.rate, momentum=recipe.momentum)
        return cls(network, optimizer, recipe, [group["lr"] for group in optimizer.param_groups])

    def prepare(self, steps: int) -> None:
        """Put the network into training mode, and the rates to where they are at this step."""
        recipe = self.recipe
        self.network.train()
        if recipe.freeze_norms and not freeze_norms(self.network):
            raise InputError(f"{recipe.model} has no batch norms; leave out freeze_norms")
        factor = rate_factor(
            self.step,
            steps=steps,
            schedule=recipe.schedule,
            milestones=recipe.milestones,
            gamma=recipe.gamma,
            power=recipe.power,
            warmup=recipe.warmup,
        )
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def judge(self, scores: Mapping[str, Any], by: str) -> bool:
        """Note the scores; returns whether they are the best so far, or as good."""
        self.scores = dict(scores)
        if (scores[by] or 0.0) < (self.best.get(by) or 0.0):
            return False
        self.best = {"step": self.step, **scores}
        return True

    def check(self, tensors: Mapping[str, Tensor] | None = None, *, learnt: Sequence[str] | None = None) -> None:
        """Raise `NotFiniteError` where tensors, else all of the network, are not finite, naming the images learnt last.

        A finite loss can have gradients that are not: the step after it breaks the weights.
        """
        tensors = self.network.state_dict() if tensors is None else tensors
        broken = [name for name, value in tensors.items() if not bool(value.isfinite().all())]
        if broken:
            losses = dict.fromkeys(broken[:3], float("nan"))
            names = tuple(self.learnt if learnt is None else learnt)
            raise NotFiniteError(names, losses, what=f"after step {self.step} weights are")

    def keep(self, run: RunDirectory, name: str) -> None:
        """Write a checkpoint; raises `NotFiniteError` where weights are not finite, so that the one before stays."""
        self.check()
        facts = {"scores": self.scores, "best": self.best}
        weights = self.network.state_dict()
        save_checkpoint(run.checkpoints, name, Checkpoint(self.step, weights, self.optimizer.state_dict(), facts))

    def take_up(self, run: RunDirectory) -> bool:
        """Go on from the last checkpoint, if there is one; returns whether there was.

        Raises `FileError` for one that is not of this network and optimiser.
        """
        kept = load_checkpoint(run.checkpoints, "last")
        if kept is None:
            return False
        try:
            self.network.load_state_dict(kept.weights)
            self.optimizer.load_state_dict(dict(kept.optimizer))
            self.scores, self.best = dict(kept.facts["scores"]), dict(kept.facts["best"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:300]
            raise FileError(
                f"the last checkpoint in {run.checkpoints} does not fit the network that the recipe builds; has its "
                f"code changed, or the file? ({reason})"
            ) from error
        self.step = kept.step
        return True
