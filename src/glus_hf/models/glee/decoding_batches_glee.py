"""How many images GLEE decodes together, and the logit of what is not there."""

from __future__ import annotations

import torch
from torch import Tensor


WINDOW = 10  # frames whose backbone features are held together, and decoded together
CACHED_PIXELS = 2**18  # of images whose states a CPU keeps at hand
NO_TARGET_LOGIT = -100.0


def default_batch_size(pixels: Tensor, device: torch.device) -> int:
    """Images decoded together: on a CPU as many as its cache holds, as larger batches are slower there.

    Example:

        >>> default_batch_size(torch.zeros(1, 3, 480, 864), torch.device("cpu"))
        1
    """
    if device.type != "cpu":
        return WINDOW
    return max(1, min(WINDOW, CACHED_PIXELS // (pixels.shape[-2] * pixels.shape[-1])))


__all__ = ["NO_TARGET_LOGIT", "WINDOW", "default_batch_size"]
