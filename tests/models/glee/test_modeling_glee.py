"""GLEE with random weights: the common model tests, what it reads, and how it learns."""

import pytest
import torch
from torch.nn import functional as F

from glus_hf import GLEEConfig, GLEEForVideoSegmentation, GLEEModel
from tests.models.common import ModelTests, assert_same, gradients
from tests.models.glee.small_glee import END, START, random_labels, small_eva02, small_model


HEIGHT, WIDTH = 64, 96


class TestGLEE(ModelTests):
    model_class = GLEEForVideoSegmentation
    float32_parts = ("model.pixel_decoder.", "model.decoder.", "model.prompter.")
    results_in_bfloat16 = ("location_scores", "mask_features", "best_logit")

    def has_attention(self, name):
        return not name.startswith("model.backbone")

    def tiny_config(self, **overrides):
        return GLEEConfig.tiny(**{"fusion_dropout": 0.0, **overrides})

    def sample(self, config, index):
        generator = torch.Generator().manual_seed(200 + index)
        words = torch.randint(3, config.text_config.vocab_size, (3 + 2 * index,), generator=generator)
        return {
            "input_ids": torch.cat([torch.tensor([START]), words, torch.tensor([END])]),
            "pixel_values": torch.randn(3, HEIGHT, WIDTH, generator=generator),
            "labels": random_labels(generator, 1, HEIGHT, WIDTH),
        }

    def collate(self, config, samples):
        rows = [sample["input_ids"] for sample in samples]
        pad = torch.nn.utils.rnn.pad_sequence
        return {
            "pixel_values": torch.stack([sample["pixel_values"] for sample in samples]),
            "input_ids": pad(rows, batch_first=True, padding_value=END),
            "attention_mask": pad([torch.ones_like(row) for row in rows], batch_first=True),
            "labels": [sample["labels"] for sample in samples],
            "generator": 0,
        }

    def results(self, output, samples):
        names = ("logits", "pred_boxes", "pred_masks", "query_embeddings", "location_scores", "mask_features")
        best = {"best_logit": output.logits.amax((1, 2))}
        values = {name: output[name] for name in names} | best
        return [{name: value[image] for name, value in values.items()} for image in range(len(samples))]

    def extend_padding(self, batch, length):
        pads = {"input_ids": END, "attention_mask": 0}
        return batch | {name: F.pad(batch[name], (0, length), value=value) for name, value in pads.items()}

    def odd_configs(self):
        return [
            {"num_feature_levels": 3},
            {"num_feature_levels": 5, "num_queries": 7},
            {"encoder_n_points": 3, "decoder_n_points": 2, "encoder_attention_heads": 2},
            {"backbone_config": small_swin()},
            {"backbone_config": small_eva02()},
            {"num_queries": 500},  # more than there are locations
            {"text_teacher": True, "label_tables": {"own": 3}},
        ]

    # ---- precision

    def test_pixel_decoder_and_decoder_compute_in_float32(self):
        model = self.tiny_model().to(torch.bfloat16)
        parts = {name: parameter.dtype for name, parameter in model.named_parameters()}
        assert {dtype for name, dtype in parts.items() if name.startswith(self.float32_parts)} == {torch.float32}
        batch = self.batch(model)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            output = model.to(torch.float32)(**batch)
        assert output.mask_features.dtype == output.logits.dtype == torch.float32

    # ---- what it reads

    def test_an_image_does_not_depend_on_the_expression_of_another(self):
        model = self.tiny_model()
        batch = self.batch(model)
        other = {**batch, "input_ids": batch["input_ids"].clone()}
        other["input_ids"][1, 1:3] = torch.tensor([5, 6])
        first, second = self.run(model, batch)["results"], self.run(model, other)["results"]
        assert_same(second[0], first[0], rtol=1e-4, atol=1e-4)
        assert (second[1]["logits"] - first[1]["logits"]).abs().max() > 1e-3

    def test_names_are_answered_in_their_order(self):
        """The logits of names come in the order of the names, and the words of all of them reach the image."""
        model = self.tiny_model()
        pixels = self.batch(model)["pixel_values"]
        names = torch.tensor([[START, 5, END], [START, 6, END], [START, 7, END]])
        with torch.no_grad():
            forward = model(pixels, names, task="category")
            backward = model(pixels, names.flip(0), task="category")
            fewer = model(pixels, names[:2], task="category")
        assert_same(backward.logits.flip(-1), forward.logits, rtol=1e-4, atol=1e-4)
        assert (fewer.mask_features - forward.mask_features).abs().max() > 1e-4

    def test_expressions_do_not_care_for_names_of_the_task(self):
        model = self.tiny_model()
        with pytest.raises(ValueError, match="task must be one of"):
            model(**{**self.batch(model), "task": "detection"})

    # ---- how it learns

    def test_every_trainable_weight_gets_a_gradient(self):
        """But those of confidence and prompts, which only visual prompts train, and of words that read the image."""
        model = self.tiny_model().train()
        without = {name for name, _ in model.named_parameters()} - gradients(model, self.batch(model)).keys()
        unused = ("values_vision_proj", "out_text_proj", "fusion.text_param", "heads.confidence", "prompter")
        assert not [name for name in without if not any(part in name for part in unused)]

    def test_loss_falls(self):
        model = self.tiny_model().train()
        batch = self.batch(model)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        losses = []
        for _ in range(25):
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.6 * losses[0]

    def test_box_only_targets_train_class_and_box(self):
        model = self.tiny_model().train()
        batch = self.batch(model)
        for target in batch["labels"]:
            del target["masks"]
        output = model(**batch)
        assert output.losses["loss_mask"] == output.losses["loss_dice"] == 0
        assert output.losses["loss_ce"] > 0 and output.losses["loss_bbox"] > 0
        assert gradients(model, batch)["model.decoder.heads.box.layers.0.weight"].abs().max() > 0

    def test_images_without_targets_are_negatives(self):
        model = self.tiny_model().train()
        batch = self.batch(model)
        empty = {name: values[:0] for name, values in batch["labels"][0].items()}
        for labels in ([empty, batch["labels"][1]], [empty, empty]):
            output = model(**{**batch, "labels": labels})
            assert output.loss.isfinite() and output.losses["loss_ce"] > 0
        assert output.losses["loss_bbox"] == output.losses["loss_mask"] == 0 and output.denoising is None

    def test_same_seed_same_loss(self):
        model = self.tiny_model().train()
        batch = self.batch(model)
        first, second, other = (model(**{**batch, "generator": seed}).loss.item() for seed in (3, 3, 4))
        assert first == second != other
        generator = torch.Generator().manual_seed(3)
        assert model(**{**batch, "generator": generator}).loss.item() == first

    @pytest.mark.parametrize("kind", ["l1", "mse"])
    def test_distillation_starts_at_zero_for_equal_towers(self, kind):
        model = small_model(text_teacher=True, distill_loss=kind)
        encoder = model.model.text_encoder
        encoder.teacher.load_state_dict(encoder.student.state_dict())
        names = {"input_ids": torch.tensor([[START, 5, END, END]]), "attention_mask": torch.tensor([[1, 1, 1, 0]])}
        labels = [random_labels(torch.Generator().manual_seed(0), 2, HEIGHT, WIDTH)]
        pixels = torch.zeros(1, 3, HEIGHT, WIDTH)
        assert model(pixels, **names, task="category", labels=labels).losses["dist_loss"] == 0
        with torch.no_grad():
            encoder.student.final_layer_norm.bias += 0.5  # every state of a word moves by a half
        expected = {"l1": 0.5, "mse": 0.25}[kind]
        found = model(pixels, **names, task="category", labels=labels)
        assert found.losses["dist_loss"].item() == pytest.approx(expected, rel=1e-5)
        assert not any(parameter.requires_grad for parameter in encoder.teacher.parameters())

    def test_unknown_label_table(self):
        model = small_model(label_tables={"own": 3}).train()
        with pytest.raises(ValueError, match="no label table 'coco'; use one of own"):
            model(**{**self.batch(model), "label_table": "coco"})


def test_new_weights_are_normal_by_their_inputs():
    """And not uniform in 0..1, as two matrices of the release."""
    torch.manual_seed(0)
    model = GLEEForVideoSegmentation(GLEEConfig.tiny()).train()
    encoder, heads, dim = model.model.text_encoder, model.model.decoder.heads, model.config.d_model
    matrices = encoder.projection.weight, heads.category.weight
    assert [matrix.std().item() for matrix in matrices] == pytest.approx([dim**-0.5] * 2, rel=0.1)
    assert all(abs(matrix.mean().item()) < 0.1 * dim**-0.5 for matrix in matrices)
    assert (heads.box.layers[-1].weight == 0).all()
    attention = model.model.pixel_decoder.layers[0].self_attn
    assert (attention.sampling_offsets.weight == 0).all() and (attention.attention_weights.weight == 0).all()
    offsets = attention.sampling_offsets.bias.view(attention.n_heads, attention.n_levels, attention.n_points, 2)
    assert offsets[0, :, :, 0].tolist() == [[1, 2, 3, 4]] * attention.n_levels  # the first head looks to the right


def test_uniform_matrices_as_in_the_release_begin_with_larger_losses():
    generator = torch.Generator().manual_seed(0)
    labels = [random_labels(generator, 2, HEIGHT, WIDTH, classes=2)]
    batch = {"pixel_values": torch.randn(1, 3, HEIGHT, WIDTH, generator=generator), "labels": labels, "generator": 0}
    batch |= {"input_ids": torch.tensor([[START, 5, END], [START, 6, END]]), "task": "category"}
    ours, uniform = [], []
    for seed in range(4):
        torch.manual_seed(seed)
        model = GLEEForVideoSegmentation(GLEEConfig.tiny()).train()
        ours.append(model(**batch).loss.item())
        with torch.no_grad():
            for matrix in (model.model.text_encoder.projection.weight, model.model.decoder.heads.category.weight):
                matrix.uniform_(0, 1)
        uniform.append(model(**batch).loss.item())
    assert sum(uniform) > 1.5 * sum(ours)


def test_the_base_model_gives_queries():
    model = GLEEModel(GLEEConfig.tiny()).eval()
    with torch.no_grad():
        text = model.encode_text(
            torch.tensor([[START, 5, END]]), torch.ones(1, 3, dtype=torch.long), is_referring=True
        )
        output = model.decode(model.encode_images(torch.zeros(1, 3, HEIGHT, WIDTH)), text)
    assert output.final.pred_boxes.shape == (1, 12, 4) and output.final.pred_boxes.min() >= 0
    assert output.selected.scores.shape == (1, 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2)


def test_parameters_of_the_released_sizes():
    """The paper's Table 3."""
    swin = {"model_type": "swin", "embed_dim": 192, "depths": [2, 2, 18, 2], "num_heads": [6, 12, 24, 48]}
    swin |= {"window_size": 12, "out_features": ["stage1", "stage2", "stage3", "stage4"]}
    counts = []
    for backbone in (None, swin):
        with torch.device("meta"):
            model = GLEEForVideoSegmentation(GLEEConfig(backbone_config=backbone, text_config={"vocab_size": 49408}))
        counts.append(sum(parameter.numel() for parameter in model.parameters()) / 1e6)
    assert counts == pytest.approx([127.27, 295.53], abs=0.005)


def small_swin():
    """A Swin with windows that do not divide the maps."""
    return {
        "model_type": "swin",
        "embed_dim": 8,
        "depths": [1, 2, 1, 1],
        "num_heads": [1, 2, 2, 4],
        "window_size": 3,
        "out_features": ["stage1", "stage2", "stage3", "stage4"],
    }
