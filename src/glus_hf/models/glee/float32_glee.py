"""Parts that are computed in float32, whatever the precision of the model."""

from __future__ import annotations

import torch
from torch import nn


class Float32Module(nn.Module):
    """Its parameters stay in float32 when the model is cast, and autocast does not reach it.

    Example:

        >>> class Part(Float32Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.linear = nn.Linear(2, 2)
        >>> Part().to(torch.bfloat16).linear.weight.dtype
        torch.float32
    """

    def _apply(self, fn, recurse=True):
        return super()._apply(lambda tensor: _keep_float32(fn, tensor), recurse)

    def __call__(self, *args, **kwargs):
        device = next(self.parameters()).device.type
        if device == "meta" or not torch.is_autocast_enabled(device):
            return super().__call__(*args, **kwargs)
        with torch.autocast(device, enabled=False):
            return super().__call__(*args, **kwargs)


def _keep_float32(fn, tensor: torch.Tensor) -> torch.Tensor:
    changed = fn(tensor)
    is_rounded = changed.is_floating_point() and changed.dtype != torch.float32
    return tensor.to(changed.device) if is_rounded else changed


__all__ = ["Float32Module"]
