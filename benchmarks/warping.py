"""How long the warp and its classes take: label-like proposals and raw intensities, one thread.

Slices of 512 x 512 pixels and mosaics of 4096 x 4096. With PERIMETRY_DATA set these are labels and images of the EM
stack of the ISBI 2012 challenge, mirrored side by side for the mosaic; without it, drawn cells. On the same images:
the definition (512 only), and for orientation scikit-image's adapted Rand error, variation of information and Hausdorff
distance, which tell something else. Last, a stack of 30 slices at the challenge's ten thresholds.

The first use compiles, and is told apart. Medians, lowest and highest are printed.

    python benchmarks/warping.py [--sizes 512 4096] [--repeats 15] [--threads 2] [--json FILE]
"""

from __future__ import annotations

import sys
from pathlib import Path

# `inspect.py`, which stands beside this script, must not be taken for the standard library's.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]

# ruff: noqa: E402  the imports must come after
import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.metrics import adapted_rand_error as rand_by_skimage
from skimage.metrics import hausdorff_distance, variation_of_information

from perimetry.metrics import classify, warp, warping_sweep
from perimetry.metrics.boundaries import outline
from perimetry.metrics.warping import compiled
from perimetry.metrics.warping_by_definition import classes_by_definition, warp_by_definition


def environment(threads: int) -> dict[str, Any]:
    processor = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    names = ("numpy", "numba", "scipy", "scikit-image")
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads of the stack": threads,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def slices(count: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Labels and 8-bit intensities, and where they are from."""
    folder = os.environ.get("PERIMETRY_DATA")
    if folder and (Path(folder) / "isbi2012_em").is_dir():
        stack = Path(folder) / "isbi2012_em"
        read = [
            [np.array(Image.open(stack / kind / f"{i:02d}.png")) for i in range(count)] for kind in ("labels", "images")
        ]
        return np.stack(read[0]) > 0, np.stack(read[1]).astype(np.uint8), "ISBI 2012 EM stack"
    random = np.random.default_rng(0)
    fields = [ndimage.gaussian_filter(random.standard_normal((512, 512)), 12) for _ in range(count)]
    labels = np.stack([abs(field) > 0.25 * field.std() for field in fields])
    noise = [ndimage.gaussian_filter(random.standard_normal((512, 512)), 1) for _ in range(count)]
    images = [
        255 * (0.3 + 0.4 * ndimage.gaussian_filter(one.astype(float), 1) + 0.6 * n)
        for one, n in zip(labels, noise, strict=True)
    ]
    return labels, np.stack(images).clip(0, 255).astype(np.uint8), "drawn cells"


def deformed(label: np.ndarray, pixels: float) -> np.ndarray:
    random = np.random.default_rng(0)
    fields = [ndimage.gaussian_filter(random.standard_normal(label.shape), 8) for _ in range(2)]
    places = [grid + pixels * field / field.std() for grid, field in zip(np.indices(label.shape), fields, strict=True)]
    return ndimage.map_coordinates(label.astype(np.float32), places, order=1, mode="nearest").clip(0, 1)


def proposals(label: np.ndarray, image: np.ndarray) -> dict[str, np.ndarray]:
    smooth = np.asarray(ndimage.gaussian_filter(image.astype(np.float32) / 255, 2))
    return {
        "label, blurred (sigma 2)": ndimage.gaussian_filter(label.astype(np.float32), 2),
        "label, shifted by 2": np.roll(label, 2, 1),
        "label, deformed by 1": deformed(label, 1.0),
        "label, deformed by 3": deformed(label, 3.0),
        "intensities, smoothed (sigma 2)": smooth,
        "intensities, 8 bits": image,
    }


def timed(work: Callable[[], object], repeats: int) -> dict[str, float]:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return {"median": statistics.median(seconds), "lowest": min(seconds), "highest": max(seconds)}


def told(times: dict[str, float]) -> str:
    return "{:.2f} ({:.2f} ... {:.2f})".format(*(1000 * times[key] for key in ("median", "lowest", "highest")))


def measure(label: np.ndarray, proposal: np.ndarray, repeats: int) -> dict[str, Any]:
    found = warp(label, proposal)
    classify(found)
    large = label.size > 2**20
    row: dict[str, Any] = {
        "differing": found.differing,
        "remaining": len(found.places),
        "warp": timed(lambda: warp(label, proposal), repeats),
        "classes": timed(lambda: classify(found), repeats),
        "both": timed(lambda: classify(warp(label, proposal)), repeats),
    }
    foreground = proposal > (127 if proposal.dtype == np.uint8 else 0.5)
    if not large:
        values = proposal.astype(np.float32) / np.float32(255 if proposal.dtype == np.uint8 else 1)

        def by_definition() -> None:
            warped, mismatches = warp_by_definition(label, values, 0.5)
            assert (warped == found.warped).all()
            classes_by_definition(warped, mismatches)

        row["definition"] = timed(by_definition, 1)
    once = 1 if large else 3
    one, other = ndimage.label(label)[0], ndimage.label(foreground)[0]
    row["rand"] = timed(lambda: rand_by_skimage(one, other), once)
    row["information"] = timed(lambda: variation_of_information(one, other), once)
    row["hausdorff"] = timed(lambda: hausdorff_distance(outline(label), outline(foreground)), once)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    result: dict[str, Any] = {"environment": environment(options.threads)}
    for key, value in result["environment"].items():
        print(f"{key}: {value}")
    labels, images, source = slices(30)
    print(f"images: {source}")
    before, start = compiled(), time.perf_counter()
    for kind in (images[0][:9, :9], images[0][:9, :9] > 127, images[0][:9, :9].astype(np.float32) / 255):
        classify(warp(labels[0][:9, :9], kind))
    print(f"first use, {'from the cache' if before else 'compiling'}: {time.perf_counter() - start:.1f} s\n")

    print("milliseconds, median (lowest ... highest)")
    for size in options.sizes:
        tiles = -(-size // 512)
        label = np.pad(labels[0], (0, 512 * (tiles - 1)), mode="symmetric")[:size, :size]
        image = np.pad(images[0], (0, 512 * (tiles - 1)), mode="symmetric")[:size, :size]
        for name, proposal in proposals(label, image).items():
            row = measure(label, proposal, options.repeats)
            result[f"{size} {name}"] = row
            print(f"{size}, {name}: {row['differing']} differ, {row['remaining']} remain")
            for key in ("warp", "classes", "both", "definition", "rand", "information", "hausdorff"):
                if key in row:
                    print(f"    {key:12s} {told(row[key])}", flush=True)

    stacks = {
        "labels, blurred (sigma 2)": np.stack([ndimage.gaussian_filter(one.astype(np.float32), 2) for one in labels]),
        "intensities, 8 bits": images,
    }
    for name, stack in stacks.items():
        for threads in dict.fromkeys((1, options.threads)):
            times = timed(lambda stack=stack, threads=threads: warping_sweep(labels, stack, threads=threads), 3)
            result[f"stack {name} {threads}"] = times
            print(f"30 slices x 10 thresholds, {name}, {threads} thread(s): {told(times)}", flush=True)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
