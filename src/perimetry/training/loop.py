"""fit(): the loop of training. Make ready, go on where it stopped; then step, evaluate, keep, until all is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from perimetry.files import write_whole
from perimetry.training.batches import Batches
from perimetry.training.bootstrapping import Round, chosen_samples, mine, read_rounds, stages, write_rounds
from perimetry.training.clock import Clock
from perimetry.training.cost import Meter, TrainingCost, read_cost
from perimetry.training.evaluation import evaluate_network
from perimetry.training.holding import held
from perimetry.training.log import Log
from perimetry.training.preparing import testing_transform, training_transform
from perimetry.training.processes import running_processes
from perimetry.training.recipe import Recipe
from perimetry.training.run_directory import RunDirectory
from perimetry.training.samples import training_batches
from perimetry.training.seeding import borrowed_generators, seed_generators
from perimetry.training.sets import Sets
from perimetry.training.setup import Setup, set_up
from perimetry.training.state import State
from perimetry.training.step import NotFiniteError, train_step
from perimetry.training.stopping import Stopped, stop_signals
from perimetry.training.tasks import Batch


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """What a run came to: the network in eval mode, its last scores and the best ones, where all is kept, its cost."""

    network: nn.Module
    scores: Mapping[str, Any]
    best: Mapping[str, Any]
    directory: Path
    cost: TrainingCost | None = None


def fit(
    recipe: Recipe,
    *,
    out: str | Path,
    sets: Sets | None = None,
    device: str = "auto",
    tell: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fitted:
    """Train as the recipe says, into the directory `out`; a run that stopped there goes on where it was.

    sets: samples of one's own in place of those of `recipe.data`. device: "auto", "cpu" or "cuda". tell: is given a
    line for each event; progress: the steps done, and all of them, after each step. On a CPU a run that was stopped, or
    killed, and goes on ends with the same weights, bit for bit, as one that was not.

    Raises `Stopped`, a `KeyboardInterrupt`, after Ctrl-C or SIGTERM, once a checkpoint is written; `NotFiniteError`,
    naming the images, where a loss is not finite, and `InputError` where the disk is full: the last checkpoint stays.
    An error before anything was kept leaves no directory, so that the next call may have another recipe.
    """
    with (
        RunDirectory(Path(out)).taken_back(),
        running_processes(device) as (processes, on),
        borrowed_generators(on),
        stop_signals() as stop,
        ExitStack() as ends,
    ):
        seed_generators(on, recipe.seed)
        setup = set_up(recipe, out=out, sets=sets, processes=processes, device=on, tell=tell)
        with processes.first_alone() as here:
            if here:
                ends.enter_context(held(setup.run.path))
        state = State.begin(setup.built.network, recipe, on)
        if state.take_up(setup.run):
            setup.tell(f"going on after step {state.step} of {setup.steps}")
        log = ends.enter_context(closing(Log(setup.run, after=state.step, writes=processes.first)))
        meter = Meter(setup.run.cost, on)
        clock = Clock(recipe, images=len(setup.sets.train), steps=setup.steps, step=state.step)
        network = processes.shared(state.network)
        for batch in _batches(setup, state):
            try:
                losses = _learn(setup, state, network, batch)
                log.add(state.step, clock.epoch(state.step), "train", losses)
                best = setup.sets.val is None and state.step == setup.steps
                numbers = ""
                if setup.sets.val is not None and clock.evaluation_due(state.step):
                    best = state.judge(_evaluate(setup, state), by=setup.task.best_by)
                    log.add(state.step, clock.epoch(state.step), "val", state.scores)
                    numbers = f", {_numbers(state.scores)}"
                # All processes stop after the same step, whichever was told to.
                stopped = processes.sum(float(stop.asked)) > 0
                if (clock.checkpoint_due(state.step) or stopped) and processes.first:
                    log.write()  # before the checkpoint: rows of later steps are dropped, lost ones never come back
                    for name in ("best", "last") if best else ("last",):
                        state.keep(setup.run, name)
                    meter.write(state.step)
                    setup.tell(f"{clock.line(state.step)}; loss {sum(losses.values()):.4g}{numbers}")
            except NotFiniteError as error:
                _leave_word(setup, state, error)
                raise
            if progress is not None and processes.first:
                progress(state.step, setup.steps)
            if stopped and state.step < setup.steps:
                raise Stopped(f"stopped after step {state.step} of {setup.steps}; the same call goes on from there")
        return Fitted(state.network.eval(), state.scores, state.best, setup.run.path, read_cost(setup.run.cost))


def _batches(setup: Setup, state: State) -> Iterator[Batch]:
    """What each step learns from, on this process; between the stages of bootstrapping, false positives are mined."""
    recipe, samples = setup.recipe, setup.sets.train
    transform = training_transform(recipe, setup.built)
    for first, last in stages(recipe, setup.steps):
        if state.step >= last:
            continue
        if recipe.hard == "bootstrap":
            samples = chosen_samples(recipe, setup.sets.train, setup.sets.classes, _rounds(setup, state, first))
        drawn = Batches(
            len(samples),
            batch=recipe.batch,
            steps=last,
            seed=recipe.seed,
            start=state.step,
            process=setup.processes.rank,
            processes=setup.processes.count,
        )
        pinned = setup.device.type == "cuda"
        yield from training_batches(samples, transform, drawn, workers=recipe.workers, pinned=pinned)


def _learn(setup: Setup, state: State, network: nn.Module, batch: Batch) -> dict[str, float]:
    """One step; returns the losses."""
    state.prepare(setup.steps)
    # Dropout and the draws of detectors come from the step alone, so that a run that goes on draws the same.
    seed_generators(setup.device, setup.recipe.seed, 1 + state.step, setup.processes.rank)
    try:
        losses = train_step(
            network,
            batch.to(setup.device, setup.layout),
            state.optimizer,
            task=setup.task,
            accumulate=setup.recipe.accumulate,
            clip=setup.recipe.clip,
            precision=setup.precision,
            processes=setup.processes,
        )
    except NotFiniteError:
        # Whose fault is it? Where weights are broken already, that of the step before.
        before = [name for names in setup.processes.gathered(state.learnt) for name in names]
        state.check(dict(state.network.named_parameters()), learnt=before)
        raise
    state.step += 1
    state.learnt = batch.names
    return losses


def _evaluate(setup: Setup, state: State) -> dict[str, Any]:
    """The scores on the validation set."""
    assert setup.sets.val is not None
    setup.processes.alike(state.network)
    state.check()
    return evaluate_network(
        state.network,
        setup.sets.val,
        task=setup.task,
        transform=testing_transform(setup.recipe, setup.built),
        batch=setup.recipe.batch if setup.recipe.task == "classification" else 1,  # others differ in size
        workers=setup.recipe.workers,
        precision=setup.precision,
        memory_format=setup.recipe.memory_format,
        processes=setup.processes,
    )


def _rounds(setup: Setup, state: State, first: int) -> tuple[Round, ...]:
    """What was mined before this stage, which begins with step `first`; the last round is held now, if it was not."""
    rounds = read_rounds(setup.run.mined, before=state.step)
    if first and state.step == first:
        setup.processes.alike(state.network)
        found = mine(
            state.network,
            setup.recipe,
            setup.sets.train,
            setup.sets.classes,
            rounds,
            task=setup.task,
            transform=testing_transform(setup.recipe, setup.built),
            processes=setup.processes,
        )
        rounds = (*rounds, Round(first, found))
        setup.tell(f"after step {first}: {len(found)} false positives join in (mined.json)")
        if setup.processes.first:
            write_rounds(setup.run.mined, rounds)
    return rounds


def _leave_word(setup: Setup, state: State, error: NotFiniteError) -> None:
    """Note the batch that broke the run."""
    if setup.processes.first:
        losses = {name: str(value) for name, value in error.losses.items()}
        content = {"schema": 1, "step": state.step, "images": error.names, "losses": losses}
        write_whole(setup.run.path / "not_finite.json", json.dumps(content, indent=1).encode())


def _numbers(scores: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in scores.items() if isinstance(value, float))
