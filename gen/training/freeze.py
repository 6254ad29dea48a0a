"""Freezing of weights that flip back and forth, so that a binary network comes to rest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xnorweave.training.binarize import BinaryConv2d, BinaryDense, sign

_MOMENTUM = 0.01


class Freezer:
    """Watches the signs of a model's binary weights, and holds those that flip often at the sign that they mostly had.

    Convolutions whose kernels come from codebooks are left alone: a latent weight there flips nothing by itself.

    Latent weights near 0 change their sign at any learning rate, and each change moves the sums that all others are
    trained for. Freezing the most restless first, then ever calmer ones, lets the others adapt to what stays.

    Parameters
    ----------
    model : nn.Module
        Watched from now on.

    References
    ----------
    Nagel, Fournarakis, Bondarenko, Blankevoort, "Overcoming Oscillations in Quantization-Aware Training", ICML 2022,
    section 4.2 (iterative weight freezing).
    """

    def __init__(self, model: nn.Module) -> None:
        modules = [module for module in model.modules() if isinstance(module, BinaryConv2d | BinaryDense)]
        self._weights = [module.weight for module in modules if not getattr(module, "sharing", False)]
        self._signs = [sign(weight.detach()) for weight in self._weights]
        self._mean_signs = [signs.clone() for signs in self._signs]
        self._flip_rates = [torch.zeros_like(signs) for signs in self._signs]
        self._held = [torch.zeros_like(signs) for signs in self._signs]

    def step(self, flip_rate: float) -> None:
        """Undo what the optimizer did to frozen weights, and freeze those that flip in more than this share of steps.

        Call after every step of the optimizer.
        """
        rows = zip(self._weights, self._signs, self._mean_signs, self._flip_rates, self._held, strict=True)
        with torch.no_grad():
            for weight, signs, mean_signs, flip_rates, held in rows:
                weight.copy_(torch.where(held != 0, held, weight))
                now = sign(weight)
                mean_signs.lerp_(now, _MOMENTUM)
                flip_rates.lerp_((now != signs).to(now.dtype), _MOMENTUM)
                signs.copy_(now)
                restless = (flip_rates > flip_rate) & (held == 0)
                held.copy_(torch.where(restless, sign(mean_signs), held))

    def frozen_count(self) -> int:
        """Return the number of weights that are frozen."""
        return sum(int(held.count_nonzero()) for held in self._held)

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` needs to go on."""
        return {
            "signs": self._signs,
            "mean_signs": self._mean_signs,
            "flip_rates": self._flip_rates,
            "held": self._held,
        }

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Take over the state of a freezer of an equal model."""
        devices = [weight.device for weight in self._weights]
        self._signs, self._mean_signs, self._flip_rates, self._held = (
            [values.to(device) for values, device in zip(state[name], devices, strict=True)]
            for name in ("signs", "mean_signs", "flip_rates", "held")
        )
