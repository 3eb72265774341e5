"""ResNet-20 for CIFAR-10 (He et al. 2016, section 4.2): shortcuts without parameters (option A)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which takes every other cell and adds channels of zeros."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, channels - inputs
        self.conv1, self.bn1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        hidden = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(features)))))
        if self.added:
            features = features[:, :, :: self.stride, :: self.stride]
            features = functional.pad(features, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        return functional.relu(hidden + features)


class ResNet20(nn.Module):
    """Images (N, 3, 32, 32) to scores (N, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(*(Block(32 if number else 16, 32, 1 if number else 2) for number in range(3)))
        self.layer3 = nn.Sequential(*(Block(64 if number else 32, 64, 1 if number else 2) for number in range(3)))
        self.linear = nn.Linear(64, classes)
        for part in self.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(part.weight)

    def forward(self, images: Tensor) -> Tensor:
        features = functional.relu(self.bn1(self.conv1(images)))
        return self.linear(self.layer3(self.layer2(self.layer1(features))).mean((2, 3)))


def resnet20(classes: int = 10) -> ResNet20:
    """The network of the paper's table 6, 0.27 million parameters."""
    return ResNet20(classes)
