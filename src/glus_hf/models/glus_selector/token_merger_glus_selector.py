"""The token merger of Chat-UniVi: density-peak clustering (DPC-KNN) and means. It has no parameters.

One stage (`merge_tokens`) takes the tokens of an image to fewer ones; three chained stages make the tokens of an image
(`merge_image`), and clusters of frames, the "events", those of a video (`merge_video`).

Ties. The original code breaks them by adding `1e-6 * rand` to the densities, in evaluation too. Here nothing is random
unless `density_noise` is given. Without it, of two equally dense tokens the one with the lower index is the denser
one, of two equally good centres the one with the lower index comes first, and a token at the same distance from two
centres belongs to the one that comes first. Distances are then sums of squared differences. With `density_noise`
all is as in the original code: strictly denser, and distances by PyTorch's default formula, whose rounding is as
large as the noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .configuration_chat_univi import num_clusters


NOISE_SCALE = 1e-6
WEIGHT_EPS = 1e-6
DensityNoise = Callable[[tuple[int, int]], Tensor] | torch.Generator | None
"""Where uniform samples in [0, 1) come from: `None`, nowhere; a generator; or a function of the shape
`(batch, tokens)`. They are asked for in the original code's order."""


@dataclass
class MergedTokens:
    """One stage: `tokens [batch, clusters, dim]` by descending score of the centres, and for every token that went in
    the row of its cluster, `labels [batch, tokens]`."""

    tokens: Tensor
    labels: Tensor


def merge_tokens(
    tokens: Tensor,
    rate: float,
    neighbours: int,
    density_noise: DensityNoise = None,
) -> MergedTokens:
    """One stage: find the centres, give every token to the nearest, average.

    Args:
        tokens: `[batch, n, dim]`.
        rate: number of clusters, or at most 1, clusters per token.
        neighbours: nearest tokens (itself included) that the density is computed from; fewer for few clusters.
        density_noise: see the top of this file.

    Returns:
        [`MergedTokens`] in the dtype of `tokens`; clustering itself is done in float32.

    Raises:
        `ValueError`: fewer tokens than clusters.

    Example:

        >>> tokens = torch.tensor([[[0.0], [0.1], [5.0], [5.1], [5.3]]])
        >>> merge_tokens(tokens, rate=2, neighbours=5).labels.tolist()
        [[0, 0, 1, 1, 1]]
    """
    count = num_clusters(rate, tokens.shape[1])
    if tokens.shape[1] < count:
        raise ValueError(
            f"{tokens.shape[1]} tokens cannot be merged into {count}; use larger images or smaller patches, or fewer "
            "clusters"
        )
    with torch.autocast(tokens.device.type, enabled=False):
        labels = _cluster(tokens.detach().float(), count, neighbours, density_noise)
        return MergedTokens(_means(tokens, labels, count), labels)


@torch.no_grad()
def _cluster(tokens: Tensor, count: int, neighbours: int, density_noise: DensityNoise) -> Tensor:
    """Labels `[batch, n]` in 0..count-1."""
    exact = density_noise is None
    mode = "donot_use_mm_for_euclid_dist" if exact else "use_mm_for_euclid_dist_if_necessary"
    distances = torch.cdist(tokens, tokens, compute_mode=mode) / tokens.shape[2] ** 0.5
    neighbours = neighbours if neighbours <= count else min(3, max(count // 2, 1))
    nearest = distances.topk(neighbours, dim=-1, largest=False).values
    density = (-nearest.square().mean(-1)).exp()
    if not exact:
        density = density + NOISE_SCALE * _sample_noise(density_noise, density)
    scores = density * _separation(distances, density, break_ties=exact)
    centres = scores.sort(dim=-1, descending=True, stable=True).indices[:, :count]
    to_centres = distances.gather(1, centres[..., None].expand(-1, -1, tokens.shape[1]))
    labels = to_centres.argmin(1)
    own = torch.arange(count, device=labels.device).expand(len(labels), -1)
    return labels.scatter(1, centres, own)  # a centre that equals another one keeps its own cluster


def _separation(distances: Tensor, density: Tensor, break_ties: bool) -> Tensor:
    """Distance of each token from the nearest denser one; the largest distance of the image where there is none."""
    denser = density[:, None, :] > density[:, :, None]
    if break_ties:
        index = torch.arange(density.shape[1], device=density.device)
        equal = density[:, None, :] == density[:, :, None]
        denser = denser | (equal & (index[None, :] < index[:, None]))
    largest = distances.flatten(1).amax(-1)[:, None, None]
    return torch.where(denser, distances, largest).amin(-1)


def _sample_noise(density_noise: DensityNoise, density: Tensor) -> Tensor:
    shape = tuple(density.shape)
    if isinstance(density_noise, torch.Generator):
        samples = torch.rand(shape, generator=density_noise, device=density_noise.device)
    else:
        samples = density_noise(shape)
        if tuple(samples.shape) != shape:
            raise ValueError(f"density_noise must give samples of shape {list(shape)}, got {list(samples.shape)}")
    return samples.to(density)


def _means(tokens: Tensor, labels: Tensor, count: int) -> Tensor:
    """Mean token of each cluster, `[batch, count, dim]`; the original code adds 1e-6 to the number of tokens.

    Sums run over the tokens in their order, as in the original code on a CPU. A GPU adds in any order, so there full
    precision takes a product, which is the same on every run. In half precision, sums are rounded to it, as in the
    original code.
    """
    member = F.one_hot(labels, count)
    weights = (1 / (member.sum(1) + WEIGHT_EPS)).to(tokens.dtype)  # [batch, count]
    if tokens.device.type != "cpu" and tokens.dtype in (torch.float32, torch.float64):
        return (member.to(tokens.dtype) * weights[:, None]).transpose(1, 2) @ tokens
    weighted = tokens * weights.gather(1, labels)[..., None]
    rows = labels + count * torch.arange(len(labels), device=labels.device)[:, None]
    sums = tokens.new_zeros(len(labels) * count, tokens.shape[2])
    return sums.index_add(0, rows.flatten(), weighted.flatten(0, 1)).unflatten(0, (-1, count))


def merge_stages(
    tokens: Tensor, clusters: tuple[float, ...], neighbours: tuple[int, ...], density_noise: DensityNoise = None
) -> list[MergedTokens]:
    """Chained stages: each merges what the one before gave. `[batch, n, dim]` -> one [`MergedTokens`] per stage."""
    stages = []
    for rate, k in zip(clusters, neighbours, strict=True):
        stages.append(merge_tokens(tokens, rate, k, density_noise))
        tokens = stages[-1].tokens
    return stages


def merge_image(
    tokens: Tensor,
    clusters: tuple[float, ...] = (64, 32, 16),
    neighbours: tuple[int, ...] = (5, 3, 3),
    density_noise: DensityNoise = None,
) -> Tensor:
    """Tokens of images: `[images, patches, dim]` -> `[images, 64 + 32 + 16, dim]`, stage after stage.

    Example:

        >>> merge_image(torch.zeros(2, 256, 8)).shape
        torch.Size([2, 112, 8])
    """
    stages = merge_stages(tokens, clusters, neighbours, density_noise)
    return torch.cat([stage.tokens for stage in stages], dim=1)


def find_events(
    tokens: Tensor, rate: float = 1 / 16, neighbours: int = 5, density_noise: DensityNoise = None
) -> list[list[int]]:
    """Group the frames of a video by the mean of their patch tokens: `[frames, patches, dim]` -> frames per event.

    Events come by their first frame; a frame belongs to one event, and an event need not be a run of frames.

    Example:

        >>> find_events(torch.arange(20.0)[:, None, None].expand(-1, 4, 8) // 12)
        [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [12, 13, 14, 15, 16, 17, 18, 19]]
    """
    labels = merge_tokens(tokens.mean(1)[None], rate, neighbours, density_noise).labels[0].tolist()
    return [[frame for frame, label in enumerate(labels) if label == event] for event in dict.fromkeys(labels)]


def merge_video(
    tokens: Tensor,
    clusters: tuple[float, ...] = (64, 32, 16),
    neighbours: tuple[int, ...] = (5, 3, 3),
    temporal_rate: float = 1 / 16,
    temporal_neighbours: int = 5,
    density_noise: DensityNoise = None,
) -> Tensor:
    """Tokens of a video: `[frames, patches, dim]` -> `[events * (64 + 32 + 16), dim]`.

    Frames are merged one by one as images; then, per event and stage, what its frames have at that stage is merged
    once more.
    """
    events = find_events(tokens, temporal_rate, temporal_neighbours, density_noise)
    stages = merge_stages(tokens, clusters, neighbours, density_noise)
    merged = []
    for frames in events:
        for stage, rate, k in zip(stages, clusters, neighbours, strict=True):
            of_event = stage.tokens[frames].flatten(0, 1)[None]
            merged.append(merge_tokens(of_event, rate, k, density_noise).tokens[0])
    return torch.cat(merged)


__all__ = ["DensityNoise", "MergedTokens", "find_events", "merge_image", "merge_stages", "merge_tokens", "merge_video"]
