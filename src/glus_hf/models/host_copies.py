"""Copies between the host and a GPU, for as few waits of the host as there can be."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """A copy on a device; to CUDA from pinned memory, so that the host goes on before the GPU is there.

    Example:

        >>> to_device(torch.tensor([1, 2]), torch.device("cpu"))
        tensor([1, 2])
    """
    if torch.device(device).type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)


def to_host(*values: Tensor) -> list[Tensor]:
    """Copies of tensors of one device on the host; it waits once for all of them.

    Example:

        >>> to_host(torch.tensor([1.0]), torch.tensor([True]))
        [tensor([1.]), tensor([True])]
    """
    is_cuda = values[0].device.type == "cuda"
    copies = [each.to("cpu", non_blocking=is_cuda) for each in values]
    if is_cuda:
        torch.cuda.current_stream(values[0].device).synchronize()
    return copies


__all__ = ["to_device", "to_host"]
