"""Models that were trained here: the directory of a run, by its path."""

from __future__ import annotations

from pathlib import Path

from perimetry.models.from_perimetry import OnQuarters
from perimetry.models.loaded import LoadedModel

PREFIX = "run:"


def looks_like(name: str) -> bool:
    """True for a directory that holds a recipe.

    >>> looks_like("resnet50")
    False
    """
    return (Path(name) / "recipe.json").is_file()


def build(name: str) -> LoadedModel:
    """The best network of a run, or the last where the run never evaluated; see `perimetry.training.run.load_run`."""
    from perimetry.networks import CARDS, GivenProposalsDetector

    # The only way up: what a run's network is, only training knows (docs/design/0007-a-run-is-a-model-name.md).
    from perimetry.training.run import load_run

    run = load_run(name)
    detector = run.recipe.task == "detection"
    network = run.network
    card = CARDS.get(run.recipe.model.rpartition(":")[2])
    size = run.tested_size or (card.image if card is not None else (224, 224))
    return LoadedModel(
        name=name,
        resolved=f"{PREFIX}{run.path}@{run.checkpoint}",
        module=OnQuarters(network) if isinstance(network, GivenProposalsDetector) else network,
        input_size=size,
        mean=run.mean,
        std=run.std,
        resize=run.short_side,
        class_names=run.label_names,
        trained=True,
        takes="list" if detector else "batch",
    )
