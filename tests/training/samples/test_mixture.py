import itertools
import json
import multiprocessing
import shutil

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainingArguments

from glus_hf.data.load_dataset import load_referring_dataset
from glus_hf.training.samples.collators import GLUSCollator
from glus_hf.training.samples.mixture import MIXTURES, MixtureDataset, mixture_weights
from glus_hf.training.samples.referring_video_dataset import ReferringVideoDataset
from glus_hf.training.samples.resumable_sampler import EpochDataset, ResumableSampler
from tests.models.glus.small_glus import small_model, small_processor
from tests.paths import FIXTURES


DATASETS = FIXTURES / "datasets"


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")
    mevis = load_referring_dataset("mevis", DATASETS / "mevis", split="train", cache_dir=cache)
    shapes = load_referring_dataset(
        "motion_shapes", split="train", num_videos=5, size=64, num_frames=8, cache_dir=cache
    )
    return {"mevis": ReferringVideoDataset(mevis), "motion_shapes": ReferringVideoDataset(shapes)}


def mixture_of(parts, length=8, seed=0):
    return MixtureDataset(parts, {"mevis": 1, "motion_shapes": 3}, length, seed)


def identity(sample):
    return sample["dataset"], sample["video_id"], tuple(sample["frame_indices"]), tuple(sample["expression_ids"])


# --- mixture


def test_presets_are_those_of_the_training_scripts():
    assert list(MIXTURES["glus-s"].values()) == [1, 1]
    assert list(MIXTURES["glus-a"].values()) == [40, 150, 4, 30, 30]
    assert list(MIXTURES["glus-a"]) == ["mevis", "refer_youtube_vos", "ref_davis17", "revos", "lvvis"]
    with pytest.raises(ValueError, match="glus-s, glus-a"):
        mixture_weights("glus-b")


def test_glus_a_on_the_real_layouts(tmp_path):
    folders = ("mevis", "Refer-YouTube-VOS", "DAVIS17", "ReVOS", "LVVIS")
    sources = zip(MIXTURES["glus-a"], folders, strict=True)
    tables = {
        name: load_referring_dataset(name, DATASETS / folder, split="train", cache_dir=tmp_path)
        for name, folder in sources
    }
    mixture = MixtureDataset({name: ReferringVideoDataset(rows) for name, rows in tables.items()}, "glus-a")
    assert len(mixture) == 5
    seen = set()
    for epoch in range(60):  # 1.6 % of the samples are Ref-DAVIS17's
        mixture.set_epoch(epoch)
        seen.update(mixture[index]["dataset"] for index in range(len(mixture)))
    assert seen == set(MIXTURES["glus-a"])


def test_weights(parts):
    """Pearson's chi square of 20,000 samples, one degree of freedom: above 10.8 once in a thousand seeds."""
    mixture = mixture_of(parts, length=20_000)
    sampled = [mixture.sample_video(index) for index in range(len(mixture))]
    counts = np.array([sum(name == part for name, _ in sampled) for part in ("mevis", "motion_shapes")])
    expected = np.array([5_000, 15_000])
    assert ((counts - expected) ** 2 / expected).sum() < 10.8
    videos = np.bincount([video for name, video in sampled if name == "motion_shapes"], minlength=5)
    assert ((videos - videos.mean()) ** 2 / videos.mean()).sum() < 18.5  # four degrees of freedom


def test_samples_do_not_depend_on_the_order_of_the_parts(parts):
    turned = dict(reversed(parts.items()))
    other = MixtureDataset(turned, {"motion_shapes": 6, "mevis": 2}, 50)  # the scale of weights is free
    assert [other.sample_video(index) for index in range(50)] == [
        mixture_of(parts, 50).sample_video(index) for index in range(50)
    ]


def test_sample_depends_on_seed_epoch_and_index_alone(parts):
    first_epoch = [identity(sample) for sample in (mixture_of(parts)[index] for index in range(8))]
    mixture = mixture_of(parts)
    mixture.set_epoch(1)
    other_epoch = [identity(mixture[index]) for index in range(8)]
    parts["mevis"].set_epoch(7)  # of no importance
    mixture.set_epoch(0)
    assert [identity(mixture[index]) for index in reversed(range(8))] == first_epoch[::-1]
    parts["mevis"].set_epoch(0)
    other_seed = mixture_of(parts, seed=1)
    assert first_epoch != other_epoch and first_epoch != [identity(other_seed[index]) for index in range(8)]


def test_one_video_twice_in_an_epoch_is_sampled_anew(parts):
    mixture = MixtureDataset({"mevis": parts["mevis"]}, {"mevis": 1}, 40)
    assert len({identity(mixture[index]) for index in range(40)}) > 10  # of 24


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_do_not_change_samples(parts, workers):
    mixture = mixture_of(parts, seed=4)
    loader = DataLoader(mixture, batch_size=3, collate_fn=list, num_workers=workers, persistent_workers=workers > 0)
    for epoch in (0, 5):
        mixture.set_epoch(epoch)
        loaded = [identity(sample) for batch in loader for sample in batch]
        assert loaded == [identity(mixture[index]) for index in range(8)]


def test_skipped_samples_of_all_parts(parts, tmp_path):
    shutil.copytree(DATASETS / "mevis", tmp_path / "mevis")
    rows = load_referring_dataset("mevis", tmp_path / "mevis", split="train", cache_dir=tmp_path / "cache")
    # of five frames, the first alone is the first quarter: it is in every sample
    (tmp_path / "mevis" / "train" / "JPEGImages" / "0ab4afe7fb46" / "00000.jpg").unlink()
    mixture = MixtureDataset(
        {"mevis": ReferringVideoDataset(rows, on_error="skip"), "shapes": parts["motion_shapes"]},
        {"mevis": 1, "shapes": 1e-9},
        4,
    )
    with pytest.raises(ValueError, match="none of 1 videos"):
        mixture[0]
    assert len(mixture.skipped) == 1 and "00000.jpg" in mixture.skipped[0]["reason"]


@pytest.mark.parametrize(
    "weights, words",
    [
        ({"mevis": 1}, "same names"),
        ({"mevis": 1, "motion_shapes": 0}, "motion_shapes is 0"),
        ({"mevis": 1, "motion_shapes": float("nan")}, "positive number"),
        ("glus-s", "same names"),
    ],
)
def test_wrong_weights(parts, weights, words):
    with pytest.raises(ValueError, match=words):
        MixtureDataset(parts, weights)


# --- sampler


class Numbers(EpochDataset):
    """Sample `i` of epoch `e` is the pair of both."""

    def __init__(self, length):
        super().__init__()
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.epoch, index


def test_order_is_shuffled_anew_in_every_epoch():
    sampler = ResumableSampler(Numbers(30), seed=1)
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
        assert sorted(orders[-1]) == list(range(30)) and len(sampler) == 30
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert list(ResumableSampler(Numbers(30), seed=2)) != orders[0]
    assert list(ResumableSampler(Numbers(3), shuffle=False)) == [0, 1, 2]


@pytest.mark.parametrize("length, ranks", [(10, 3), (9, 3), (11, 4), (2, 5)])
def test_pad_and_drop(length, ranks):
    order = list(ResumableSampler(Numbers(length)))
    padded = [list(ResumableSampler(Numbers(length), rank=rank, num_ranks=ranks)) for rank in range(ranks)]
    assert {len(share) for share in padded} == {-(-length // ranks)}
    together = [index for batch in zip(*padded, strict=True) for index in batch]
    assert together[:length] == order and together[length:] == (order * 3)[: len(together) - length]
    if length >= ranks:
        dropped = [
            list(ResumableSampler(Numbers(length), rank=rank, num_ranks=ranks, remainder="drop"))
            for rank in range(ranks)
        ]
        together = [index for batch in zip(*dropped, strict=True) for index in batch]
        assert together == order[: length // ranks * ranks]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("remainder", ["pad", "drop"])
def test_resume_in_the_middle_of_an_epoch(remainder, workers):
    """Whatever the workers read ahead, what is left is what was not used."""

    def loader_of(rank):
        sampler = ResumableSampler(Numbers(23), seed=8, rank=rank, num_ranks=2, remainder=remainder)
        return sampler, DataLoader(sampler.dataset, 3, sampler=sampler, collate_fn=list, num_workers=workers)

    for rank in (0, 1):
        sampler, loader = loader_of(rank)
        whole, state = [], None
        for number in itertools.count():
            for batch in loader:
                whole += batch
                sampler.advance(len(batch))
                if sampler.epoch == 1 and state is None and sampler.used >= 12:
                    state, used = json.loads(json.dumps(sampler.state_dict())), len(whole)
            if number == 2:
                break
        resumed, loader = loader_of(rank)
        resumed.load_state_dict(state)
        rest = [sample for _ in range(2) for batch in loader for sample in _used(batch, resumed)]
        assert rest == whole[used:] and {epoch for epoch, _ in rest} == {1, 2}


def _used(batch, sampler):
    sampler.advance(len(batch))
    return batch


def test_resume_with_another_number_of_ranks():
    sampler = ResumableSampler(Numbers(20), rank=0, num_ranks=4)
    order = list(ResumableSampler(Numbers(20)))
    sampler.advance(2)
    rest = []
    for rank in (0, 1):
        other = ResumableSampler(Numbers(20), rank=rank, num_ranks=2)
        other.load_state_dict(sampler.state_dict())
        rest += [list(other)]
    assert [index for pair in zip(*rest, strict=True) for index in pair] == order[8:]


def test_end_of_an_epoch_starts_the_next():
    sampler = ResumableSampler(Numbers(4))
    sampler.advance(3)
    assert (sampler.epoch, sampler.used, len(sampler)) == (0, 3, 1)
    sampler.advance(1)
    assert (sampler.epoch, sampler.used, len(sampler)) == (1, 0, 4)
    with pytest.raises(ValueError, match="5 samples used"):
        sampler.advance(5)


@pytest.mark.parametrize("other", [{"seed": 1}, {"shuffle": False}, {"length": 5}])
def test_state_of_another_sampler_is_refused(other):
    state = ResumableSampler(Numbers(4)).state_dict()
    with pytest.raises(ValueError, match="the saved sampler has"):
        ResumableSampler(Numbers(other.pop("length", 4)), **other).load_state_dict(state)


@pytest.mark.parametrize(
    "options", [{"remainder": "keep"}, {"rank": 2, "num_ranks": 2}, {"num_ranks": 9, "remainder": "drop"}]
)
def test_wrong_sampler_options(options):
    with pytest.raises(ValueError):
        ResumableSampler(Numbers(4), **options)


def test_epoch_reaches_processes_that_run_already():
    dataset = Numbers(1)
    context = multiprocessing.get_context("fork")
    ask, answer = context.Queue(), context.Queue()
    process = context.Process(target=_tell_epochs, args=(dataset, ask, answer))
    process.start()
    for epoch in (0, 3):
        dataset.set_epoch(epoch)
        ask.put(True)
        assert answer.get(timeout=60) == epoch
    ask.put(False)
    process.join(60)
    with pytest.raises(ValueError, match="0 or more"):
        dataset.set_epoch(-1)


def _tell_epochs(dataset, ask, answer):
    while ask.get():
        answer.put(dataset.epoch)


# --- Trainer and accelerate


def test_accelerate_shards_and_resumes_on_every_rank():
    """On two ranks accelerate reaches the sampler's epoch by one way before a resume and by another after it."""
    from accelerate.data_loader import prepare_data_loader, skip_first_batches

    def loader_of(rank):
        sampler = ResumableSampler(Numbers(14), seed=3)
        loader = DataLoader(sampler.dataset, 2, sampler=sampler, collate_fn=list)
        return prepare_data_loader(loader, num_processes=2, process_index=rank, put_on_device=False)

    samples = []
    for rank in (0, 1):
        loader = loader_of(rank)
        loader.set_epoch(2)
        whole = list(loader)
        resumed = skip_first_batches(loader_of(rank), 2)
        resumed.set_epoch(2)
        assert list(resumed) == whole[2:] and len(whole) == 4
        samples += [sample for batch in whole for sample in batch]
    assert {epoch for epoch, _ in samples} == {2} and {index for _, index in samples} == set(range(14))


class RecordingMixture(MixtureDataset):
    """Writes down what is read, whichever process reads."""

    def __init__(self, *args, log):
        super().__init__(*args)
        self.log = log

    def __getitem__(self, index):
        with open(self.log, "a") as file:
            file.write(f"{self.epoch} {index}\n")
        return super().__getitem__(index)


class SamplingTrainer(Trainer):
    def _get_train_sampler(self, train_dataset=None):
        return ResumableSampler(self.train_dataset, seed=self.args.seed)


@pytest.mark.parametrize("workers", [0, 2])
def test_trainer_resumes_in_the_middle_of_an_epoch(parts, tmp_path, workers):
    """The weights are those of an uninterrupted run, and what was trained on before is not read again."""
    processor = small_processor()

    def train(name, resume=None, **options):
        log = tmp_path / f"{name}.txt"
        mixture = RecordingMixture(parts, {"mevis": 1, "motion_shapes": 2}, 6, 5, log=log)
        arguments = TrainingArguments(
            output_dir=str(tmp_path / "run" if resume or options else tmp_path / name),
            per_device_train_batch_size=2,
            num_train_epochs=2,
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            save_steps=4,
            logging_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            remove_unused_columns=False,
            dataloader_num_workers=workers,
            dataloader_persistent_workers=workers > 0,
            seed=7,
            **options,
        )
        model = small_model().train()
        trainer = SamplingTrainer(model, arguments, GLUSCollator(processor), mixture)
        trainer.train(resume_from_checkpoint=resume)
        reads = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
        return model.state_dict(), reads

    whole, reads = train("whole")
    train("interrupted", max_steps=4)
    resumed, reads_after = train("resumed", resume=str(tmp_path / "run" / "checkpoint-4"))
    assert sorted(reads) == [(epoch, index) for epoch in (0, 1) for index in range(6)]
    if workers == 0:
        assert reads_after == reads[8:]  # 4 steps of 2 samples; none of them is read again
    assert sorted(reads_after) == sorted(set(reads) - set(_first_steps(mixture_of(parts, 6), 7, 8)))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)


def _first_steps(dataset, seed, count):
    """The first `count` samples that the Trainer above uses."""
    sampler = ResumableSampler(dataset, seed=seed)
    used = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        used += [(epoch, index) for index in sampler]
    return used[:count]
