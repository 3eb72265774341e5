"""Every operator works where its features are: on the accelerator as on the CPU, and without data on meta."""

import pytest
import torch
from torch.testing import assert_close

from perimetry import ops

BOXES = torch.tensor([[0, 3, 4, 60, 50.0], [1, -20, 8.5, 90, 44.5]])
CELLS = torch.tensor([[0, 1, 1, 5, 6], [1, 0, 2, 7, 2]])
WINDOWS = {"kernel": 3, "stride": 2, "padding": 1, "rounding": "ceil"}
OPERATORS = {
    "position-sensitive": lambda x, to: ops.position_sensitive_roi_pool(x, to(BOXES), size=2, scale=1 / 8),
    "roi-max": lambda x, to: ops.roi_max_pool(x, to(BOXES), size=3, scale=1 / 8),
    "roi-pyramid-max": lambda x, to: ops.roi_pyramid_pool(x, to(CELLS), levels=(3, 1)),
    "roi-pyramid-mean": lambda x, to: ops.roi_pyramid_pool(x, to(CELLS), levels=(3, 1), reduction="mean"),
    "spp-cells": lambda x, to: ops.spp_cells(to(BOXES), height=8, width=8, step=8).to(x.dtype) + x.sum() * 0,
    "pyramid": lambda x, to: ops.pyramid_pool(x),
    "pyramid-paper": lambda x, to: ops.pyramid_pool(x, windows="paper", reduction="mean"),
    "pyramid-caffe": lambda x, to: ops.pyramid_pool(x, windows="caffe"),
    "l2": lambda x, to: ops.l2_normalize(x, to(torch.ones(8))),
    "lrn": lambda x, to: ops.lrn_paper(x),
    "lrn-within": lambda x, to: ops.lrn_within_channel(x, size=3, alpha=1.0),
    "context": lambda x, to: ops.global_context(x, local_scale=to(torch.ones(8)), context_scale=to(torch.ones(8))),
    "max": lambda x, to: ops.max_pool(x, **WINDOWS),
    "mean": lambda x, to: ops.mean_pool(x, **WINDOWS),
    "lp": lambda x, to: ops.lp_pool(x, power=2, **WINDOWS),
    "stochastic-mean": lambda x, to: ops.stochastic_pool_mean(x, **WINDOWS),
    "blur": lambda x, to: ops.blur_pool(x, **WINDOWS),
    "max-blur": lambda x, to: ops.max_blur_pool(x, **WINDOWS),
    "deconvolution": lambda x, to: ops.bilinear_deconvolution(x, kernel=4, stride=2),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_on_meta_it_has_the_same_shape(name):
    x = torch.rand(2, 8, 8, 8)
    expected = OPERATORS[name](x, lambda value: value)
    found = OPERATORS[name](x.to("meta"), lambda value: value.to("meta"))
    assert (found.shape, found.dtype, found.device.type) == (expected.shape, expected.dtype, "meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", OPERATORS)
def test_on_a_gpu_it_gives_the_same_values_and_gradients(name):
    x = torch.rand(2, 8, 8, 8, dtype=torch.float64, requires_grad=True)
    on_gpu = x.detach().cuda().requires_grad_()
    expected = OPERATORS[name](x, lambda value: value.double())
    found = OPERATORS[name](on_gpu, lambda value: value.double().cuda())
    assert_close(found.cpu(), expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    assert_close(on_gpu.grad.cpu(), x.grad)
