"""Random weights whose answers differ from picture to picture and from place to place, so that no two scores tie."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

Forward = Callable[[], object]
"""Sends some pictures through a model."""


@torch.no_grad()
def settle(model: nn.Module, forward: Forward, calm: float = 0.0) -> None:
    """Let each normalisation over a batch know what it sees: else a deep network of random weights fades or bursts.

    A channel that hardly varies is not blown up to more than `calm`, as a share of what its layer's vary, allows: such
    a network would turn a pixel's single level into another answer.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    forward()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        if calm:
            norm.running_var.clamp_(min=calm * float(norm.running_var.mean()))
    model.eval()


@torch.no_grad()
def spread(layers: Sequence[nn.Conv2d | nn.Linear], forward: Forward, mean: float, deviation: float) -> None:
    """Make what each of these last layers gives over some pictures have this mean and standard deviation."""
    for layer, outputs in zip(layers, _outputs(layers, forward), strict=True):
        middle, width = outputs.mean(0), outputs.std(0).clamp(min=1e-6)
        factor = deviation / width
        layer.weight.mul_(factor.reshape(-1, *[1] * (layer.weight.ndim - 1)))
        assert layer.bias is not None
        layer.bias.copy_((layer.bias - middle) * factor + mean)


@torch.no_grad()
def thin(layers: Sequence[nn.Conv2d | nn.Linear], forward: Forward, share: float, score: float) -> None:
    """Shift what these layers of logits of classes give so that this share of places has a class of this score."""
    best = torch.cat([outputs.amax(1) for outputs in _outputs(layers, forward)])
    shift = torch.logit(torch.tensor(score)) - best.quantile(1 - share)
    for layer in layers:
        assert layer.bias is not None
        layer.bias += shift


def _outputs(layers: Sequence[nn.Conv2d | nn.Linear], forward: Forward) -> list[torch.Tensor]:
    """What each layer gives for some pictures: [places, channels]."""
    seen: dict[nn.Module, list[torch.Tensor]] = {layer: [] for layer in layers}

    def note(module: nn.Module, _: object, output: torch.Tensor) -> None:
        channels = 1 if isinstance(module, nn.Conv2d) else -1
        seen[module].append(output.detach().movedim(channels, -1).reshape(-1, output.shape[channels]))

    handles = [layer.register_forward_hook(note) for layer in layers]
    forward()
    for handle in handles:
        handle.remove()
    return [torch.cat(seen[layer]) for layer in layers]
