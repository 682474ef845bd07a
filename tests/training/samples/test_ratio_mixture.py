"""Mixtures by ratio: how often each dataset comes, and that a batch is of one kind."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from glus_hf import UserError
from glus_hf.training.samples.ratio_mixture import RATIOS, RatioMixture


DRAWS = 20_000
STAGE_2 = RATIOS["glee-stage-2"]


def datasets(names=tuple(STAGE_2)):
    """Thirteen datasets of unequal size, from 3 samples to 50,000; a sample is its dataset's name and its number."""
    sizes = np.geomspace(3, 50_000, len(names)).astype(int)
    return {name: [(name, number) for number in range(size)] for name, size in zip(names, sizes, strict=True)}


def batches_of(mixture, **options):
    return [[mixture[index] for index in batch] for batch in mixture.batches(**options)]


@pytest.mark.parametrize("seed", [0, 1])
def test_datasets_come_as_often_as_their_ratios_say(seed):
    mixture = RatioMixture(datasets(), "glee-stage-2", num_batches=1, seed=seed)
    counts = Counter(name for name, _ in islice(mixture.draws(epoch=0), DRAWS))
    for name, ratio in STAGE_2.items():
        share = ratio / sum(STAGE_2.values())
        assert abs(counts[name] - DRAWS * share) < 3 * (DRAWS * share * (1 - share)) ** 0.5, name


def test_the_sums_of_the_paper():
    assert sum(STAGE_2.values()) == pytest.approx(14.55)
    assert sum(RATIOS["glee-stage-3"].values()) == pytest.approx(22.05)


def test_samples_of_a_dataset_come_alike():
    mixture = RatioMixture({"only": range(10)}, {"only": 1}, num_batches=1)
    counts = Counter(sample for _, sample in islice(mixture.draws(epoch=0), DRAWS))
    assert len(counts) == 10 and max(abs(count - DRAWS / 10) for count in counts.values()) < 4 * (DRAWS * 0.09) ** 0.5


def test_a_batch_is_of_one_dataset_and_one_kind():
    kinds = {"coco": ["portrait" if number % 3 == 0 else "landscape" for number in range(50_000)]}
    mixture = RatioMixture(datasets(), "glee-stage-2", num_batches=400, kinds=kinds)
    batches = batches_of(mixture, batch_size=4)
    assert len(batches) == 400 and {len(batch) for batch in batches} == {4}
    assert all(len({name for name, _ in batch}) == 1 for batch in batches)
    of_coco = [[kinds["coco"][number] for _, number in batch] for batch in batches if batch[0][0] == "coco"]
    assert {kind for batch in of_coco for kind in batch} == {"portrait", "landscape"}
    assert all(len(set(batch)) == 1 for batch in of_coco)


def test_a_dataset_may_have_batches_of_its_own_size():
    mixture = RatioMixture({"a": range(0, 5), "b": range(5, 9)}, {"a": 1, "b": 1}, num_batches=40)
    lengths = {(batch[0] >= 5, len(batch)) for batch in batches_of(mixture, batch_size={"a": 2, "b": 3})}
    assert lengths == {(False, 2), (True, 3)}


def test_every_draw_of_a_sample_is_made_anew():
    """A dataset of one random sample: all draws of all epochs are asked for with keys of their own."""

    class Random:
        def __len__(self):
            return 1

        def sample(self, index, key):
            return index, key

    mixture = RatioMixture({"a": range(4), "b": Random()}, {"a": 1, "b": 1}, num_batches=40)
    sampler, keys = mixture.batches(2), []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        drawn = [mixture[index] for batch in sampler for index in batch]
        keys += [sample[1] for sample in drawn if isinstance(sample, tuple)]
        assert {sample for sample in drawn if not isinstance(sample, tuple)} == {0, 1, 2, 3}
    assert len(keys) == len(set(keys)) > 40


def test_batches_follow_from_seed_and_epoch():
    def first(seed, epoch):
        sampler = RatioMixture(datasets(), "glee-stage-2", num_batches=20, seed=seed).batches(2)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert first(0, 0) == first(0, 0)
    assert first(0, 0) != first(0, 1) and first(0, 0) != first(1, 0)


@pytest.mark.parametrize(
    ("ratios", "message"),
    [
        ({"a": 1.0}, "ratio of b is None"),
        ({"a": 1.0, "b": 0.0}, "ratio of b is 0.0"),
        ({"a": 1.0, "b": 1.0, "c": 1.0}, "ratios of c, but no such datasets"),
        ("stage-9", "unknown ratios 'stage-9'"),
    ],
)
def test_wrong_ratios_are_refused_in_one_line(ratios, message):
    with pytest.raises(UserError, match=message) as error:
        RatioMixture({"a": [1], "b": [2]}, ratios, num_batches=1)
    assert "\n" not in str(error.value)


def test_an_empty_dataset_is_refused():
    with pytest.raises(UserError, match="b has no samples"):
        RatioMixture({"a": [1], "b": []}, {"a": 1, "b": 1}, num_batches=1)
