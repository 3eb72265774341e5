"""How long do a CPU's gradients of depthwise convolutions take in bfloat16, by torch's ways and by ours?

    python benchmarks/depthwise.py [--threads 1] [--turns 9]

Layers of EfficientNet-Lite0 at 240 x 180, 8 images, channels last, and some that are dilated or wider. Columns:
milliseconds of the processor, the median of the turns (lowest ... highest), for the gradients of images and of weights
together; by torch in bfloat16; by torch in single precision, with casts to and fro; by `perimetry.training.depthwise`.
"""

from __future__ import annotations

import sys
from pathlib import Path

# benchmarks/inspect.py must not stand in the way of the standard library's `inspect`, which others import.
_HERE = Path(__file__).resolve().parent
sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]

# ruff: noqa: E402  the imports must come after
import argparse
import os
import statistics
import time

import torch
from torch.nn import functional

from perimetry.training.depthwise import depthwise_conv2d

# channels, side of the filters, stride, padding, dilation, height, width
LAYERS = [
    (32, 3, 1, 1, 1, 90, 120),
    (96, 3, 2, 0, 1, 91, 121),
    (144, 3, 1, 1, 1, 45, 60),
    (144, 5, 2, 0, 1, 49, 63),
    (240, 5, 1, 2, 1, 23, 30),
    (480, 3, 1, 1, 1, 12, 15),
    (672, 5, 1, 2, 1, 12, 15),
    (1152, 5, 1, 2, 1, 6, 8),
    (480, 3, 1, 2, 2, 12, 15),
    (672, 5, 1, 4, 2, 12, 15),
    (96, 7, 1, 3, 1, 45, 60),
]


def torch_bfloat16(images, weight, stride, padding, dilation):
    return functional.conv2d(images, weight.bfloat16(), None, stride, padding, dilation, len(weight))


def torch_single(images, weight, stride, padding, dilation):
    return functional.conv2d(images.float(), weight, None, stride, padding, dilation, len(weight)).bfloat16()


def ours(images, weight, stride, padding, dilation):
    window = {"stride": (stride, stride), "padding": (padding, padding), "dilation": (dilation, dilation)}
    return depthwise_conv2d(images, weight.bfloat16(), None, **window)


def milliseconds(convolve, layer, turns: int) -> list[float]:
    channels, side, stride, padding, dilation, height, width = layer
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(8, channels, height, width, generator=draw).bfloat16().to(memory_format=torch.channels_last)
    weight = torch.randn(channels, 1, side, side, generator=draw)
    inputs = [images.requires_grad_(), weight.requires_grad_()]
    times = []
    for _ in range(turns + 1):  # the first allocates and compiles
        convolved = convolve(*inputs, stride, padding, dilation)
        above = torch.ones_like(convolved)
        begin = time.process_time()
        torch.autograd.grad(convolved, inputs, above)
        times.append(1000 * (time.process_time() - begin))
    return times[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, load {os.getloadavg()[0]:.1f}")
    print("| channels, filter, stride, dilation | torch, bfloat16 | torch, single | ours |\n|---|---:|---:|---:|")
    for layer in LAYERS:
        channels, side, stride, _, dilation, _, _ = layer
        found = [milliseconds(each, layer, options.turns) for each in (torch_bfloat16, torch_single, ours)]
        told = [f"{statistics.median(each):.1f} ({min(each):.1f} ... {max(each):.1f})" for each in found]
        print(f"| {channels}, {side} x {side}, {stride}, {dilation} |", " | ".join(told), "|")


if __name__ == "__main__":
    main()
