"""Fast forms of convolutions against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from perimetry.maps.convolving import convolved, spreading

# Input channels, output channels, kernel, stride, padding, dilation, groups.
FORMS = [
    (5, 6, (1, 1), (1, 1), (0, 0), (1, 1), 1),
    (5, 6, (1, 1), (2, 3), (0, 0), (1, 1), 1),
    (5, 6, (1, 1), (1, 1), (1, 0), (1, 1), 1),
    (4, 6, (1, 1), (1, 1), (0, 0), (1, 1), 2),
    (3, 6, (7, 7), (2, 2), (3, 3), (1, 1), 1),
    (3, 6, (5, 3), (2, 3), (0, 1), (1, 1), 1),
    (3, 6, (3, 3), (1, 1), (2, 2), (2, 2), 1),
    (8, 6, (3, 2), (2, 1), (1, 1), (1, 2), 2),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("bias", [True, False])
def test_forwards(form, layout, bias):
    torch.manual_seed(0)
    inputs, outputs, kernel, stride, padding, dilation, groups = form
    source = torch.randn(2, inputs, 13, 14, dtype=torch.float64).contiguous(memory_format=layout)
    weight = torch.randn(outputs, inputs // groups, *kernel, dtype=torch.float64).contiguous(memory_format=layout)
    offset = torch.randn(outputs, dtype=torch.float64) if bias else None
    asked = {"stride": list(stride), "padding": list(padding), "dilation": list(dilation), "groups": groups}
    expected = F.conv2d(source, weight, offset, stride, padding, dilation, groups)
    assert_close(convolved(source, weight, offset, asked), expected)


@pytest.mark.parametrize("form", FORMS)
def test_backwards(form):
    torch.manual_seed(0)
    inputs, outputs, kernel, stride, _, dilation, groups = form
    gradient = torch.randn(3, outputs, 4, 5, dtype=torch.float64)
    weight = torch.randn(outputs, inputs // groups, *kernel, dtype=torch.float64)
    spread = spreading(weight, stride, dilation, groups)
    for _ in range(2):  # what the first call prepares serves the second
        assert_close(spread(gradient), F.conv_transpose2d(gradient, weight, None, stride, 0, 0, groups, dilation))
