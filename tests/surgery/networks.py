"""Networks for the tests of changes."""

import torch
from torch import nn


def small():
    """Two convolutions, a pooling, a fully connected head: every kind of layer that a change looks for."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, padding=2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 12, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(12 * 4, 16),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(16, 5),
    ).eval()
