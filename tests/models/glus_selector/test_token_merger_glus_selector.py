"""The token merger against the numbers of the public program, against plain loops, and its properties."""

import math

import numpy as np
import pytest
import torch

from glus_hf.models.glus_selector.token_merger_glus_selector import (
    find_events,
    merge_image,
    merge_stages,
    merge_tokens,
    merge_video,
)
from tests.models.glus_selector.upstream_selector import VIDEO_NOISE, golden, replay


CLUSTERS, NEIGHBOURS = (64, 32, 16), (5, 3, 3)
TOLERANCE = 1e-6  # of the largest value, or of 1


def random_tokens(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def assert_close(ours, expected):
    assert ours.shape == expected.shape
    tolerance = TOLERANCE * max(1.0, expected.abs().max().item())
    difference = (ours - expected).abs().max().item()
    print(f"max difference {difference:.1e} of {expected.abs().max().item():.1e}, limit {tolerance:.1e}")
    assert difference <= tolerance


# ---- the public program's numbers


@pytest.mark.parametrize("name", ["merge", "merge_noise"])
def test_stages(name):
    noise = replay(*(f"{name}.noise{stage}" for stage in range(3))) if name == "merge_noise" else None
    stages = merge_stages(golden()[f"{name}.x"], CLUSTERS, NEIGHBOURS, noise)
    for index, stage in enumerate(stages):
        assert torch.equal(stage.labels, golden()[f"{name}.labels{index}"].long())
        assert_close(stage.tokens, golden()[f"{name}.stage{index}"])
    assert_close(torch.cat([stage.tokens for stage in stages], dim=1), golden()[f"{name}.tokens"])


@pytest.mark.parametrize("silent", range(3))
def test_the_recorded_noise_matters(silent):
    samples = [golden()[f"merge_noise.noise{stage}"] for stage in range(3)]
    samples[silent] = torch.zeros_like(samples[silent])
    stages = merge_stages(golden()["merge_noise.x"], CLUSTERS, NEIGHBOURS, lambda shape: samples.pop(0))
    assert not torch.equal(stages[silent].labels, golden()[f"merge_noise.labels{silent}"].long())


def test_video():
    tokens = golden()["video.x"]
    events = find_events(tokens, density_noise=replay("video.noise.temporal"))
    event_of_frame = golden()["video.event_of_frame"].tolist()
    assert events == [[frame for frame in range(20) if event_of_frame[frame] == event] for event in range(2)]
    merged = merge_video(tokens, density_noise=replay(*(f"video.noise.{name}" for name in VIDEO_NOISE)))
    assert_close(merged, golden()["video.tokens"][0])


def test_video_of_one_event():
    assert_close(merge_video(golden()["video.x"][:12] / 16), golden()["video_one_event.tokens"][0])


# ---- plain loops


def merge_slowly(tokens, rate, neighbours):
    """One image, in float64, one token after the other: labels and merged tokens."""
    n, dim = tokens.shape
    count = math.ceil(rate) if rate > 1 else max(math.ceil(n * rate), 1)
    k = neighbours if neighbours <= count else min(3, max(count // 2, 1))
    distance = np.sqrt(((tokens[:, None] - tokens[None]) ** 2).sum(-1) / dim)
    density = [math.exp(-np.mean(sorted(distance[i] ** 2)[:k])) for i in range(n)]
    scores = []
    for i in range(n):
        denser = [j for j in range(n) if density[j] > density[i] or (density[j] == density[i] and j < i)]
        scores.append(density[i] * min([distance[i, j] for j in denser], default=distance.max()))
    centres = sorted(range(n), key=lambda i: (-scores[i], i))[:count]
    labels = [min(range(count), key=lambda c: (distance[centres[c], i], c)) for i in range(n)]
    for cluster, centre in enumerate(centres):
        labels[centre] = cluster
    members = [[i for i in range(n) if labels[i] == cluster] for cluster in range(count)]
    return labels, np.stack([tokens[rows].sum(0) / (len(rows) + 1e-6) for rows in members])


@pytest.mark.parametrize(
    ("n", "rate", "neighbours"),
    [(40, 16, 5), (40, 4, 5), (40, 2, 3), (9, 1 / 16, 5), (40, 1 / 16, 5), (70, 1 / 16, 5), (12, 12, 3), (12, 1, 5)],
)
def test_equals_plain_loops(n, rate, neighbours):
    tokens = random_tokens(3, n, 12, seed=n)
    merged = merge_tokens(tokens, rate, neighbours)
    for row in range(3):
        labels, means = merge_slowly(tokens[row].double().numpy(), rate, neighbours)
        assert merged.labels[row].tolist() == labels
        torch.testing.assert_close(merged.tokens[row].double(), torch.from_numpy(means), rtol=0, atol=TOLERANCE)


# ---- properties


def test_rows_and_clusters():
    tokens = random_tokens(2, 256, 16)
    assert merge_image(tokens).shape == (2, 112, 16)
    before = tokens
    for stage in merge_stages(tokens, CLUSTERS, NEIGHBOURS):
        counts = torch.stack([row.bincount(minlength=stage.tokens.shape[1]) for row in stage.labels])
        assert (counts > 0).all()
        weighted = (stage.tokens * counts[..., None]).sum(1)
        torch.testing.assert_close(weighted, before.sum(1), rtol=1e-4, atol=1e-4)
        before = stage.tokens


def test_order_of_tokens_does_not_change_clusters():
    tokens = random_tokens(1, 100, 16)
    order = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    straight, shuffled = (merge_tokens(x, 16, 5).labels[0] for x in (tokens, tokens[:, order]))
    clusters = [{frozenset(torch.nonzero(straight == c).flatten().tolist()) for c in range(16)}]
    clusters.append({frozenset(order[shuffled == c].tolist()) for c in range(16)})
    assert clusters[0] == clusters[1]


def test_as_many_clusters_as_tokens_is_a_permutation():
    tokens = random_tokens(1, 64, 16)
    merged = merge_tokens(tokens, 64, 5)
    order = merged.labels[0]
    assert sorted(order.tolist()) == list(range(64)) != order.tolist()
    torch.testing.assert_close(merged.tokens[0][order], tokens[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("noise", [None, torch.Generator()])
@pytest.mark.parametrize("value", [0.0, 1.0, -80.0])
def test_equal_tokens_stay_finite(value, noise):
    merged = merge_image(torch.full((2, 256, 16), value), density_noise=noise)
    torch.testing.assert_close(merged, torch.full((2, 112, 16), value), rtol=1e-5, atol=0)


def test_ties_go_to_the_first_token():
    tokens = torch.zeros(1, 70, 4)
    labels = merge_tokens(tokens, 64, 5).labels[0].tolist()
    assert labels == [*range(64), *[0] * 6]
    pairs = torch.tensor([[[0.0], [1.0], [10.0], [11.0]]])
    assert merge_tokens(pairs, 2, 5).labels.tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("seed", range(3))
def test_batch_equals_one_by_one(seed):
    tokens = random_tokens(5, 256, 48, seed=seed)
    together = merge_image(tokens)
    assert torch.equal(together, torch.cat([merge_image(image[None]) for image in tokens]))
    assert torch.equal(together, merge_image(tokens))


def test_too_few_tokens():
    with pytest.raises(ValueError, match="49 tokens cannot be merged into 64; use larger images"):
        merge_image(torch.zeros(1, 49, 4))


def test_noise_is_sampled_in_upstreams_order():
    shapes = []

    def noise(shape):
        shapes.append(shape)
        return torch.rand(shape, generator=torch.Generator().manual_seed(len(shapes)))

    merge_image(random_tokens(2, 256, 8), density_noise=noise)
    assert shapes == [(2, 256), (2, 64), (2, 32)]
    shapes.clear()
    merge_video(random_tokens(18, 256, 8), density_noise=noise)
    assert shapes[:4] == [(1, 18), (18, 256), (18, 64), (18, 32)] and len(shapes) == 10
    assert shapes[4:] == [(1, size * n // 64) for _, n in (shapes[4], shapes[7]) for size in (64, 32, 16)]
    assert shapes[4][1] + shapes[7][1] == 18 * 64


def test_noise_from_a_generator_repeats_and_global_generators_are_left_alone():
    tokens = golden()["merge_noise.x"]  # far apart: the noise decides
    before = torch.get_rng_state()
    first, again, other = (
        merge_image(tokens, density_noise=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    merge_image(tokens)
    assert torch.equal(torch.get_rng_state(), before)


def test_noise_of_the_wrong_shape():
    with pytest.raises(ValueError, match=r"samples of shape \[1, 256\], got \[256\]"):
        merge_image(random_tokens(1, 256, 8), density_noise=lambda shape: torch.zeros(256))


@pytest.mark.parametrize("num_frames", [1, 2, 12, 16, 17, 40, 49, 70])
def test_events_cover_all_frames(num_frames):
    events = find_events(random_tokens(num_frames, 4, 8))
    assert len(events) == math.ceil(num_frames / 16)
    assert sorted(frame for event in events for frame in event) == list(range(num_frames))
    assert all(event == sorted(event) for event in events)
    assert [event[0] for event in events] == sorted(event[0] for event in events)


def test_scenes_are_events():
    scene = torch.tensor([0] * 9 + [1] * 7 + [0] * 4)
    tokens = 10 * torch.eye(8)[scene][:, None] + 0.01 * random_tokens(20, 4, 8)
    assert find_events(tokens) == [torch.nonzero(scene == kind).flatten().tolist() for kind in (0, 1)]


def test_half_precision_is_rounded_as_upstreams():
    tokens = random_tokens(1, 256, 16).bfloat16()
    merged = merge_tokens(tokens, 64, 5)
    assert merged.tokens.dtype == torch.bfloat16
    exact = merge_tokens(tokens.float(), 64, 5)
    assert torch.equal(merged.labels, exact.labels)
    torch.testing.assert_close(merged.tokens.float(), exact.tokens, rtol=0.05, atol=0.05)
    assert not torch.equal(merged.tokens.float(), exact.tokens)


def test_autocast_changes_nothing():
    tokens = random_tokens(1, 256, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(merge_image(tokens), merge_image(tokens.clone()))
        inside = merge_image(tokens)
    assert inside.dtype == torch.float32 and torch.equal(inside, merge_image(tokens))


def test_gradients_go_through_the_means():
    tokens = random_tokens(1, 256, 4).requires_grad_()
    merged = merge_tokens(tokens, 64, 5)
    merged.tokens.sum().backward()
    counts = merged.labels[0].bincount()
    torch.testing.assert_close(tokens.grad[0, :, 0], 1 / counts[merged.labels[0]].float(), rtol=1e-5, atol=0)
