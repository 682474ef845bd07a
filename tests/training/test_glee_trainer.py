"""GLEE learns from videos: batches, targets, rates, and a loss that falls whatever the accumulation."""

import numpy as np
import pytest
import torch

from glus_hf import (
    GLEECollator,
    GLEEConfig,
    GLEEForVideoSegmentation,
    GLEETrainer,
    GLEETrainingArguments,
    ReferringVideoDataset,
    UserError,
)
from glus_hf.models.glee.targets_glee import boxes_of_masks, image_targets
from glus_hf.training.glee_parameters import parameter_groups
from glus_hf.training.samples.ratio_mixture import RatioMixture
from tests.evaluation.evaluation_data import shape_rows
from tests.models.glee.small_glee import LENGTH, small_model, small_processor


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rows = shape_rows(tmp_path_factory.mktemp("cache"), num_videos=4, num_frames=4)
    return ReferringVideoDataset(rows, num_context_frames=0, num_query_frames=1, max_expressions=2)


@pytest.fixture(scope="module")
def collator():
    return GLEECollator(small_processor(short=64, long=64))


# ---- targets


def test_boxes_are_around_masks():
    masks = torch.zeros(2, 20, 40, dtype=torch.bool)
    masks[0, 5:15, 10:30] = True
    masks[1, 0, 39] = True
    assert boxes_of_masks(masks).tolist() == [[0.5, 0.5, 0.5, 0.5], pytest.approx([39.5 / 40, 0.025, 0.025, 0.05])]


def test_targets_lie_where_the_image_is():
    """An image of 10x20 resized to 20x40 and padded to 32x64."""
    masks = torch.zeros(2, 10, 20, dtype=torch.bool)
    masks[1, 5:, 10:] = True
    found = image_targets(masks, torch.tensor([3, 4]), (20, 40), (32, 64))
    assert found["class_labels"].tolist() == [4]  # the other one is not visible
    assert found["masks"].shape == (1, 32, 64) and found["masks"].sum() == 10 * 20 and found["masks"][0, 19, 39]
    assert found["boxes"][0].tolist() == [30 / 64, 15 / 32, 20 / 64, 10 / 32]


# ---- batches


def test_every_frame_with_every_expression_is_an_image(data, collator):
    samples = [data[0], data[1]]
    batch = collator(samples)
    texts = [text for sample in samples for text in sample["expressions"]]
    assert batch["pixel_values"].shape == (len(texts), 3, 64, 64) and batch["input_ids"].shape == (len(texts), LENGTH)
    masks = [mask for sample in samples for expression in sample["masks"] for mask in expression]
    for target, mask in zip(batch["labels"], masks, strict=True):
        assert len(target["class_labels"]) == int(mask.any())
        assert target["masks"].sum() / 64**2 == pytest.approx((mask > 0).mean(), abs=0.02)


def test_context_frames_are_refused(collator):
    sample = {"frames": [np.zeros((8, 8, 3), np.uint8)] * 3, "expressions": ["dog"], "masks": np.zeros((1, 2, 8, 8))}
    with pytest.raises(UserError, match="3 frames but 2 masks .*num_context_frames=0"):
        collator([sample])


# ---- the trainer


def train(data, collator, folder, model=None, **options):
    model = model or small_model(fusion_dropout=0.0)
    defaults = {"max_steps": 6, "per_device_train_batch_size": 2, "logging_steps": 1, "report_to": [], "seed": 1}
    args = GLEETrainingArguments(str(folder), **{**defaults, "use_cpu": True, "save_strategy": "no", **options})
    trainer = GLEETrainer(model, args, collator, train_dataset=data)
    trainer.train()
    return trainer


def test_rates_and_decays_of_the_parts(tmp_path):
    model = small_model()
    groups = parameter_groups(model, GLEETrainingArguments(str(tmp_path), backbone_rate=0.5, text_rate=0.25))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {names[id(each)]: (group["lr"], group["weight_decay"]) for group in groups for each in group["params"]}
    assert found.keys() == set(names.values())
    assert found["model.backbone.encoder.stages.1.layers.0.layer.0.convolution.weight"] == (5e-5, 0.05)
    assert found["model.text_encoder.student.embeddings.token_embedding.weight"] == (2.5e-5, 0.0)
    assert found["model.decoder.heads.norm.weight"] == (1e-4, 0.0)
    assert found["model.decoder.heads.box.layers.0.bias"] == (1e-4, 0.0)
    assert found["model.pixel_decoder.mask_projection.weight"] == (1e-4, 0.05)


def rates_of_backbone(config, tmp_path, **options):
    model = GLEEForVideoSegmentation(config)
    groups = parameter_groups(model, GLEETrainingArguments(str(tmp_path), learning_rate=1.0, **options))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(each)]: group["lr"] for group in groups for each in group["params"]}
    return {name.removeprefix("model.backbone."): rate for name, rate in rates.items() if "backbone" in name}


def test_layers_of_the_backbone_are_the_slower_the_earlier(tmp_path):
    rates = rates_of_backbone(GLEEConfig.tiny(), tmp_path, backbone_rate=1.0, layer_decay=0.8)
    assert rates["embedder.embedder.convolution.weight"] == pytest.approx(0.8**5)
    stages = {int(name.split(".")[2]): rate for name, rate in rates.items() if name.startswith("encoder")}
    assert stages == {stage: pytest.approx(0.8 ** (4 - stage)) for stage in range(4)}


def test_layers_of_a_swin(tmp_path):
    swin = {"model_type": "swin", "embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 4], "window_size": 3}
    swin["out_features"] = ["stage1", "stage2", "stage3", "stage4"]
    rates = rates_of_backbone(GLEEConfig.tiny(backbone_config=swin), tmp_path, backbone_rate=0.5, layer_decay=0.5)
    expected = {"embeddings.norm.bias": 6, "encoder.layers.0.blocks.0.layernorm_before.bias": 5}
    expected |= {"encoder.layers.1.blocks.1.layernorm_before.bias": 3, "encoder.layers.1.downsample.norm.bias": 3}
    for name, power in expected.items():
        assert rates[f"swin.{name}"] == pytest.approx(0.5 * 0.5**power), name
    assert rates["hidden_states_norms.stage1.bias"] == 0.5


def test_the_rate_rises_and_falls_in_steps(data, collator, tmp_path):
    options = {"max_steps": 8, "lr_drop_steps": [4, 6], "warmup_steps": 1, "learning_rate": 1e-3}
    trainer = train(data, collator, tmp_path, **options)
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    expected = [5e-4] + [1e-3] * 3 + [1e-4] * 2 + [1e-5] * 2
    assert rates == pytest.approx([0.1 * rate for rate in expected])  # the backbone's, which is logged


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_decay": 0.0}, "layer_decay must be more than 0 and at most 1, got 0.0"),
        ({"backbone_rate": -1.0}, "backbone_rate must be 0 or more"),
        ({"lr_drop_steps": [0]}, "lr_drop_steps must be whole numbers from 1 up"),
        ({"total_train_batch_size": 3, "per_device_train_batch_size": 2}, "3 is no multiple of 2 images on 1 devices"),
    ],
)
def test_wrong_arguments_are_one_line(tmp_path, options, message):
    with pytest.raises(UserError, match=message) as error:
        GLEETrainingArguments(str(tmp_path), **options)
    assert "\n" not in str(error.value)


def test_gradient_checkpointing_changes_no_gradient(data, collator, tmp_path):
    plain = train(data, collator, tmp_path, max_steps=1)
    saving = train(data, collator, tmp_path, max_steps=1, gradient_checkpointing=True)
    assert saving.model.is_gradient_checkpointing
    for (name, ours), theirs in zip(plain.model.named_parameters(), saving.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6, msg=name)


def test_a_rate_of_zero_freezes(data, collator, tmp_path):
    trainer = train(data, collator, tmp_path, max_steps=1, backbone_rate=0.0, text_rate=0.0)
    frozen = {name.split(".")[1] for name, each in trainer.model.named_parameters() if not each.requires_grad}
    assert frozen == {"backbone", "text_encoder"}
    before = dict(small_model(fusion_dropout=0.0).named_parameters())
    moved = {name for name, each in trainer.model.named_parameters() if not torch.equal(each, before[name])}
    assert moved and not [name for name in moved if name.startswith(("model.backbone", "model.text_encoder"))]


def test_loss_falls(data, collator, tmp_path):
    trainer = train(data, collator, tmp_path, max_steps=16, learning_rate=3e-3, max_grad_norm=0.1)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert np.mean(losses[-4:]) < 0.75 * np.mean(losses[:4])
    assert all(entry["loss_mask"] > 0 for entry in trainer.state.log_history if "loss" in entry)


def test_accumulated_losses_are_means_over_the_targets_of_the_step(data, collator, tmp_path):
    """A batch has the share of its targets in those of the step."""
    trainer = train(data, collator, tmp_path, max_steps=1)
    batches = [{**collator([data[index]]), "samples": []} for index in range(2)]
    batches[0]["labels"][0] = {name: values[:0] for name, values in batches[0]["labels"][0].items()}
    counts = [trainer._counts(batch) for batch in batches]
    assert [int(count[1]) for count in counts] == [len(batch["labels"]) for batch in batches]
    for batch, count in zip(batches, counts, strict=True):
        inputs = {name: value for name, value in batch.items() if name != "samples"}
        torch.manual_seed(0)
        alone = trainer.model(**inputs).loss.detach()
        torch.manual_seed(0)
        share = trainer.compute_loss(trainer.model, batch, num_items_in_batch=sum(counts))
        assert share.item() == pytest.approx(float(alone * count[0] / sum(counts)[0]), rel=1e-5)


def test_a_mixture_trains_in_batches_of_one_dataset(data, collator, tmp_path):
    """Two datasets that differ in name alone, at 3:1."""
    read = []

    class Named:
        def __init__(self, name):
            self.name = name

        def __len__(self):
            return len(data)

        def __getitem__(self, index):
            read.append(self.name)
            return data[index]

    mixture = RatioMixture({"a": Named("a"), "b": Named("b")}, {"a": 3, "b": 1}, num_batches=8, seed=2)
    trainer = train(mixture, collator, tmp_path, max_steps=8)
    assert trainer.state.global_step == 8 and len(read) >= 16
    assert all(first == second for first, second in zip(read[0:16:2], read[1:16:2], strict=True))
    assert 2 * read[:16].count("b") < read[:16].count("a")
