"""The peers of `benchmarks/networks.py`: ResNet-18 and EfficientNet-Lite0 as one writes them in PyTorch.

Submodules carry the names of our parameters, so that weights copy by path.
"""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

__all__ = ["Classifier", "EfficientNetLite0", "ResNet18", "copy_weights", "count_work"]


def _norm(kind: str, width: int) -> nn.Module:
    return nn.GroupNorm(32, width) if kind == "group" else nn.BatchNorm2d(width)


class _BasicBlock(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, norm: str):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.norm1 = _norm(norm, width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = _norm(norm, width)
        if stride != 1 or inputs != width:
            self.conv3 = nn.Conv2d(inputs, width, 1, stride, bias=False)
            self.norm3 = _norm(norm, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if hasattr(self, "conv3"):
            x = self.norm3(self.conv3(x))
        return F.relu(x + y)


class ResNet18(nn.Module):
    """ResNet-18 up to its pooled 512 features."""

    features = 512

    def __init__(self, norm: str):
        super().__init__()
        self.conv = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.norm = _norm(norm, 64)
        inputs = 64
        for i, width in enumerate((64, 128, 256, 512)):
            for j in range(2):
                block = _BasicBlock(inputs, width, 2 if i > 0 and j == 0 else 1, norm)
                self.add_module(f"block{i + 1}_{j + 1}", block)
                inputs = width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, 512]."""
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 3, 2, 1)
        for name, block in self.named_children():
            if name.startswith("block"):
                x = block(x)
        return x.mean((2, 3))


class _ConvNorm(nn.Module):
    def __init__(self, inputs: int, width: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.conv = nn.Conv2d(inputs, width, kernel, stride, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(width, eps=1e-3, momentum=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # TensorFlow's SAME, which the published weights need.
        pads = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
            pads += [total // 2, total - total // 2]
        if any(pads):
            x = F.pad(x, pads)
        return self.norm(self.conv(x))


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, width: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        hidden = inputs * expansion
        self.expand = _ConvNorm(inputs, hidden, 1) if expansion > 1 else None
        self.depthwise = _ConvNorm(hidden, hidden, kernel, stride, groups=hidden)
        self.project = _ConvNorm(hidden, width, 1)
        self.residual = stride == 1 and inputs == width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 up to its pooled 1280 features; `norm="folded"` keeps batch norm in inference mode."""

    features = 1280

    def __init__(self, norm: str):
        super().__init__()
        self.frozen = norm == "folded"
        self.stem = _ConvNorm(3, 32, 3, 2)
        stages = [(1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112)]
        stages += [(4, 5, 2, 6, 192), (1, 3, 1, 6, 320)]
        inputs, index = 32, 0
        for repeats, kernel, stride, expansion, width in stages:
            for i in range(repeats):
                block = _InvertedResidual(inputs, width, kernel, stride if i == 0 else 1, expansion)
                self.add_module(f"block{index}", block)
                inputs, index = width, index + 1
        self.head = _ConvNorm(320, 1280, 1)

    def train(self, mode: bool = True) -> "EfficientNetLite0":
        """Training mode, but for frozen statistics."""
        return super().train(mode and not self.frozen)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, 1280]."""
        x = F.relu6(self.stem(x))
        for name, block in self.named_children():
            if name.startswith("block"):
                x = block(x)
        return F.relu6(self.head(x)).mean((2, 3))


class Classifier(nn.Module):
    """A network with a linear layer on its features."""

    def __init__(self, network: nn.Module, classes: int):
        super().__init__()
        self.network = network
        self.classifier = nn.Linear(network.features, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> logits [B, classes]."""
        return self.classifier(self.network(x))


def copy_weights(module: nn.Module, params: dict[str, Any]) -> None:
    """Put our parameters (nested dicts) into the module of the same names; a folded bias goes to the norm."""
    for name, value in params.items():
        if not isinstance(value, dict):
            continue
        child = getattr(module, name)
        if not any(isinstance(leaf, dict) for leaf in value.values()):
            arrays = {leaf: np.asarray(array) for leaf, array in value.items()}
            with torch.no_grad():
                if "kernel" in arrays:
                    order = (3, 2, 0, 1) if arrays["kernel"].ndim == 4 else (1, 0)
                    child.weight.copy_(torch.from_numpy(arrays["kernel"].transpose(order).copy()))
                if "scale" in arrays:
                    child.weight.copy_(torch.from_numpy(arrays["scale"].copy()))
                if "bias" in arrays:
                    folded = isinstance(child, nn.Conv2d)
                    target = module.norm if folded else child
                    target.bias.copy_(torch.from_numpy(arrays["bias"].copy()))
                    if folded:  # makes the norm in inference mode the identity plus that bias
                        module.norm.running_var.fill_(1 - module.norm.eps)
        else:
            copy_weights(child, value)


def count_work(module: nn.Module, images: torch.Tensor) -> tuple[int, int]:
    """Multiply-adds of the convolutions in one forward pass, and the numbers they write."""
    work = [0, 0]

    def add(layer: nn.Conv2d, _: Any, output: torch.Tensor) -> None:
        work[0] += output.numel() * layer.weight[0].numel()
        work[1] += output.numel()

    hooks = [m.register_forward_hook(add) for m in module.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        module(images)
    for hook in hooks:
        hook.remove()
    return work[0], work[1]
