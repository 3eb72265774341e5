"""Every torchvision builder and one model per timm family: captured and answered, or honestly unknown.

Slow (minutes). As a script it prints a line per model as it goes: `python tests/test_walk.py [PATTERN]`, where the
pattern is a shell pattern on names such as "timm:*", "torchvision:*rcnn*".
"""

from __future__ import annotations

import contextlib
import fnmatch
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from unittest import mock

import pytest
import torch
import torchvision
from torch import Tensor, nn

import perimetry

ALLOWED_UNKNOWN = 0.03
SIZES = {"inception_v3": 299}
SMALL_WORDS = (
    "atto",
    "femto",
    "pico",
    "nano",
    "xxs",
    "xxt",
    "xs",
    "tiny",
    "_t_",
    "_t",
    "small",
    "_s",
    "b0",
    "lite0",
    "18",
    "26",
    "050",
)
LARGE_WORDS = (
    "huge",
    "giant",
    "large",
    "xlarge",
    "_l",
    "gigantic",
    "enormous",
    "so400m",
    "152",
    "b7",
    "b8",
    "xx_large",
)


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to build: its name, how, and the example that it takes."""

    name: str
    build: Callable[[], nn.Module]
    example: Callable[[nn.Module], Tensor | tuple[list[Tensor]]]
    initialised: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the table. field: of the last local layer. problem: what went wrong, if anything did."""

    name: str
    captured: str = ""
    seconds: float = 0.0
    layers: int = 0
    field: str = ""
    unknown: tuple[str, ...] = ()
    problem: str = ""

    @property
    def line(self) -> str:
        """The table's row as text."""
        told = self.problem or ", ".join(self.unknown) or self.field
        return f"{self.name:52.52} {self.captured:5} {self.seconds:7.2f} s {self.layers:5}  {told}"


@contextlib.contextmanager
def untouched_weights() -> Iterator[None]:
    """Leave new parameters uninitialised: no time, and no memory pages. Buffers that code computes stay right."""
    names = [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(nn.init, name, lambda tensor, *args, **kwargs: tensor))
        for name in ("normal_", "uniform_", "erfinv_", "bernoulli_"):
            stack.enter_context(mock.patch.object(Tensor, name, lambda tensor, *args, **kwargs: tensor))
        yield


def image_of(size: int, model: nn.Module) -> Tensor:
    """A batch of one square RGB image, on the meta device where that is enough."""
    return torch.rand(1, 3, size, size)


def timm_image(model: nn.Module) -> Tensor:
    """A batch of one image of the size that the model was made for."""
    return torch.rand(1, *model.default_cfg["input_size"])


def photos(model: nn.Module) -> tuple[list[Tensor]]:
    """What torchvision's detectors take: a list of images."""
    return ([torch.rand(3, 192, 256)],)


def torchvision_subjects() -> Iterator[Subject]:
    """All classification, segmentation and detection builders."""
    models = torchvision.models
    for name in models.list_models(module=models):
        options: dict[str, object] = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        build = partial(models.get_model, name, weights=None, **options)
        yield Subject(f"torchvision:{name}", build, partial(image_of, SIZES.get(name, 224)))
    for name in models.list_models(module=models.segmentation):
        build = partial(models.get_model, name, weights=None, weights_backbone=None)
        yield Subject(f"torchvision:{name}", build, partial(image_of, 224))
    for name in models.list_models(module=models.detection):
        small = {} if name.startswith("ssd") else {"min_size": 192, "max_size": 256}  # the default of 800 takes long
        build = partial(models.get_model, name, weights=None, weights_backbone=None, **small)
        yield Subject(f"torchvision:{name}", build, photos, initialised=True)


def _smallness(name: str) -> tuple[int, int, int, str]:
    """Sort key: small input first, then names that say small, then short names."""
    import timm

    config = timm.get_pretrained_cfg(name)
    size = (config.input_size if config is not None else (3, 224, 224))[-1]
    small = any(word in name for word in SMALL_WORDS) - 2 * any(word in name for word in LARGE_WORDS)
    number = min((int(digits) for digits in re.findall(r"\d+", name)), default=0)
    return size, -small, number, name


def timm_subjects() -> Iterator[Subject]:
    """One model per timm family (module of timm.models), the one that looks smallest."""
    import timm

    for family in timm.list_modules():
        names = [name for name in timm.list_models(module=family) if not name.startswith("test_")]
        if names:
            name = min(names, key=_smallness)
            yield Subject(f"timm:{family}:{name}", partial(timm.create_model, name, pretrained=False), timm_image)


def examine(subject: Subject) -> Finding:
    """Build, trace and answer one model; whatever goes wrong becomes the finding's problem."""
    try:
        with warnings.catch_warnings(), contextlib.nullcontext() if subject.initialised else untouched_weights():
            warnings.simplefilter("ignore")  # what the builders of others say
            model = subject.build().eval()
        example = subject.example(model)
    except Exception as error:  # noqa: BLE001  a builder of others may raise anything, and the walk goes on
        return Finding(subject.name, problem=f"not built: {type(error).__name__}: {str(error)[:120]}")
    began = time.perf_counter()
    try:
        network = perimetry.trace(model, example)
        fields = perimetry.fields(network)
    except Exception as error:  # noqa: BLE001  the table shows every failure, not the first
        first = (str(error).splitlines() or [""])[0]
        return Finding(
            subject.name, seconds=time.perf_counter() - began, problem=f"{type(error).__name__}: {first[:200]}"
        )
    seconds = time.perf_counter() - began
    unknown = tuple(sorted({answer.reason for answer in fields.values() if answer.reason}))
    local = [(name, answer.local) for name, answer in fields.items() if answer.local and all(answer.local.size)]
    told = ""
    if local:
        name, field = local[-1]
        told = f"{'x'.join(map(str, field.size))} / {'x'.join(map(str, field.stride))} at {name}"
    return Finding(subject.name, network.captured, seconds, len(fields), told, unknown)


def walk(subjects: Iterable[Subject], pattern: str = "*") -> Iterator[Finding]:
    """Examine every subject whose name fits, one after the other."""
    return (examine(subject) for subject in subjects if fnmatch.fnmatch(subject.name, pattern))


def assert_answered(findings: list[Finding]) -> None:
    """No failure among the models that could be built, and at most 3 % with an operator that is unknown."""
    built = [finding for finding in findings if not finding.problem.startswith("not built")]
    failed = [finding.line for finding in built if finding.problem]
    assert not failed, "\n".join(failed)
    unknown = [finding.line for finding in built if finding.unknown]
    assert len(unknown) <= ALLOWED_UNKNOWN * len(built), "\n".join(unknown)
    assert len(built) >= 0.9 * len(findings)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("collection", [torchvision_subjects, timm_subjects], ids=["torchvision", "timm"])
def test_every_model_is_captured_and_answered(
    collection: Callable[[], Iterator[Subject]], capsys: pytest.CaptureFixture[str]
) -> None:
    findings = []
    for finding in walk(collection()):
        findings.append(finding)
        with capsys.disabled():
            print(finding.line, flush=True)
    assert_answered(findings)


def main(pattern: str = "*") -> None:
    """Print the table for all models that fit the pattern."""
    torch.set_num_threads(1)
    findings = []
    for finding in walk([*torchvision_subjects(), *timm_subjects()], pattern):
        findings.append(finding)
        print(finding.line, flush=True)
    total = sum(finding.seconds for finding in findings)
    problems = sum(bool(finding.problem) for finding in findings)
    unknown = sum(bool(finding.unknown) for finding in findings)
    print(f"{len(findings)} models, {total:.0f} s, {problems} with a problem, {unknown} with unknown operators")


if __name__ == "__main__":
    main(*sys.argv[1:2])
