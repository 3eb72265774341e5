"""Guards: the public names, who imports whom, what start-up loads, and where the data folder may be named."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import Literal, get_origin

import pytest

import perimetry
import perimetry.data
import perimetry.metrics
import perimetry.networks
import perimetry.nn
import perimetry.ops
import perimetry.prediction
import perimetry.training

PACKAGES = (
    perimetry,
    perimetry.data,
    perimetry.metrics,
    perimetry.networks,
    perimetry.nn,
    perimetry.ops,
    perimetry.prediction,
    perimetry.training,
)
ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "perimetry"

PUBLIC = [
    "AxisField",
    "Box",
    "Changed",
    "Field",
    "FileError",
    "InputError",
    "Inspection",
    "LayerRecord",
    "LoadedModel",
    "MissingExtraError",
    "ModelRecord",
    "Network",
    "PerimetryError",
    "Photo",
    "Scored",
    "ShapeError",
    "Span",
    "TraceError",
    "TrainingModeError",
    "UnitMap",
    "UnknownNameError",
    "WeightsError",
    "__version__",
    "change",
    "cost",
    "effective_field",
    "effective_fields",
    "endpoints",
    "fields",
    "inspect",
    "list_models",
    "load_model",
    "load_photo",
    "occlude",
    "rule",
    "score_boundaries",
    "score_boxes",
    "score_labels",
    "score_masks",
    "support",
    "trace",
]

# Who may import whom: each part of the package, and the parts that it may name. Changing this is a decision.
FACTS = {"errors", "geometry", "records"}
MAY_IMPORT = {
    "errors": set(),
    "geometry": {"errors"},
    "records": {"errors", "geometry"},
    "files": {"errors"},
    "rules": FACTS,
    "tracing": FACTS | {"rules"},
    "maps": FACTS | {"files", "rules", "tracing", "images", "models"},
    "costs": FACTS | {"rules", "tracing"},
    "probes": FACTS | {"rules", "tracing"},
    "images": FACTS,
    "models": FACTS | {"images", "networks"},
    "metrics": FACTS,
    "kernels": set(),
    "ops": {"errors", "kernels"},
    "nn": {"errors", "ops"},
    "networks": {"errors", "geometry", "ops", "nn"},
    "surgery": FACTS | {"ops", "nn", "networks", "tracing", "models", "inspection"},
    "verification": FACTS | {"inspection", "models", "networks"},
    "report": FACTS
    | {"data", "scoring", "metrics", "networks", "training", "prediction"},  # records of results, and cards
    "scoring": FACTS | {"files", "images", "metrics", "report"},
    "data": FACTS | {"files", "images", "metrics", "scoring", "report"},
    "training": FACTS | {"files", "images", "metrics", "data", "models", "networks", "__version__"},
    "prediction": FACTS | {"files", "images", "metrics", "scoring", "data", "models", "networks", "training", "report"},
    "inspection": FACTS | {"rules", "tracing", "maps", "costs", "probes", "images", "models", "report"},
    "cli": FACTS
    | {"files", "images", "models", "report", "inspection", "tracing", "maps", "metrics", "scoring"}
    | {"data", "networks", "surgery", "verification", "training", "prediction"},
}
# What points the other way, inside functions only, so that nothing is loaded in a circle; each is a decision too.
UPWARDS = {
    # A run is rebuilt by what trained it: docs/design/0007-a-run-is-a-model-name.md.
    "models/from_run.py": {"training"},
}
# Facts and these parts stay readable without torch, which takes seconds to load.
WITHOUT_TORCH = ("errors", "geometry", "records", "cli")


def imports(file: Path):
    """(imported module, whether the import runs when the file is loaded) for each import in a file."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    later = set()
    for node in ast.walk(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if typing_only or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            later |= {id(inner) for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are written out in full"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) not in later


def part_of(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(file for file in SOURCE.rglob("*.py") if file.parent != SOURCE or not file.name.startswith("__"))


def test_the_public_names_are_these():
    assert sorted(perimetry.__all__) == sorted(PUBLIC)
    assert dir(perimetry) == sorted(PUBLIC)


@pytest.mark.parametrize(
    ("package", "name"),
    [pytest.param(each, name, id=f"{each.__name__}.{name}") for each in PACKAGES for name in each.__all__],
)
def test_every_public_name_is_there_and_documented(package, name):
    value = getattr(package, name)
    assert value.__doc__ or get_origin(value) is Literal  # which can hold no docstring


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'perimetry' has no attribute 'inspekt'"):
        _ = perimetry.inspekt


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_point_one_way(file):
    part = part_of(file)
    assert part in MAY_IMPORT, f"{file} belongs to no known part: add it to MAY_IMPORT, and to DESIGN's table"
    for name, at_once in imports(file):
        top, _, rest = name.partition(".")
        if top != "perimetry":
            continue
        other = rest.split(".")[0]
        allowed = MAY_IMPORT[part] | {part}
        if not at_once:
            allowed |= UPWARDS.get(str(file.relative_to(SOURCE)), set())
        # `cli` may use whatever `perimetry` itself exports.
        assert other in allowed or (part in ("cli", "report") and (not other or other in PUBLIC)), (
            f"{file.name} ({part}) imports {name}; it may import {', '.join(sorted(allowed))}"
        )


@pytest.mark.parametrize("file", [file for file in FILES if part_of(file) in WITHOUT_TORCH], ids=lambda file: file.name)
def test_heavy_libraries_stay_out_of_what_start_up_loads(file):
    heavy = {name.split(".")[0] for name, at_once in imports(file) if at_once}
    assert heavy.isdisjoint({"torch", "torchvision", "timm", "numpy", "PIL", "jinja2", "pandas"})


def test_models_of_other_sources_load_no_networks_of_this_package():
    at_once = {name for file in FILES if part_of(file) == "models" for name, now in imports(file) if now}
    assert "perimetry.errors.InputError" in at_once
    assert not [name for name in at_once if name.startswith("perimetry.networks")]


@pytest.mark.parametrize(
    ("code", "most_modules"),
    [
        ("import perimetry", 40),
        ("from perimetry.cli.main import main; main(['--help'])", 110),
        ("from perimetry.cli.main import main; main(['inspct'])", 110),
        ("from perimetry.cli.main import main; main(['inspect', '--help'])", 130),
        ("from perimetry.cli.main import main; main(['inspect', '--jsn'])", 130),
        ("from perimetry.cli.main import main; main(['score', '--help'])", 130),
        ("from perimetry.cli.main import main; main(['data', '--help'])", 130),
        ("from perimetry.cli.main import main; main(['score', 'boundaries', '--help'])", 130),
        ("from perimetry.cli.main import main; main(['train', '--help'])", 130),
        ("from perimetry.cli.main import main; main(['evaluate', '--help'])", 130),
        ("from perimetry.cli.main import main; main(['predict', '--help'])", 130),
    ],
)
def test_start_up_loads_no_torch_and_few_modules(code, most_modules):
    program = f"""
import sys
sys.path.insert(0, {str(SOURCE.parent)!r})
before = set(sys.modules)
{code}
print("LOADED", *sorted(set(sys.modules) - before))
"""
    run = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    modules = run.stdout.rpartition("LOADED")[2].split()
    assert {"torch", "numpy", "PIL", "torchvision", "timm"}.isdisjoint(modules)
    assert len(modules) <= most_modules, modules


def test_only_the_ci_script_names_the_shared_data_folder():
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True, check=False
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    needle = "../" + "shared"
    naming = [
        name
        for name in listed.stdout.splitlines()
        if (ROOT / name).is_file() and needle in (ROOT / name).read_text(encoding="utf-8", errors="replace")
    ]
    assert set(naming) <= {".ci/run"}
