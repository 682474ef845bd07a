"""GLUS with random weights: the common model tests, gradients, memory, options and losses."""

import math

import pytest
import torch
from torch.nn import functional as F

from glus_hf.models.glus.configuration_glus import GLUSConfig
from glus_hf.models.glus.modeling_glus import GLUSForVideoSegmentation
from glus_hf.models.memory_bank import MemoryBank, memory_indices
from glus_hf.models.recipe_losses import mask_bce_loss, mask_dice_loss, mask_losses
from tests.models.common import ModelTests, assert_same, gradients
from tests.models.glus.small_glus import PAD, QUERIES, SEG, VOCABULARY, freeze_pretrained_parts, glus_config


def conversation(config, num_words, generator):
    """Ids of a context frame, then per query frame its image, some words and [SEG]."""
    image = torch.full((config.num_image_tokens,), config.image_token_id)
    parts = [torch.tensor([1]), image]
    for _ in range(QUERIES):
        words = torch.randint(4, VOCABULARY, (num_words,), generator=generator)
        parts += [image, words, torch.tensor([SEG])]
    return torch.cat(parts)


class TestGLUS(ModelTests):
    model_class = GLUSForVideoSegmentation

    def tiny_config(self, **overrides):
        return glus_config(**overrides)

    def sample(self, config, index):
        generator = torch.Generator().manual_seed(100 + index)
        image, mask = config.vision_config.image_size, config.mask_config.image_size
        expressions = 2 - index
        return {
            "input_ids": [conversation(config, 2 + index + row, generator) for row in range(expressions)],
            "pixel_values": torch.randn(1 + QUERIES, 3, image, image, generator=generator),
            "mask_pixel_values": torch.randn(QUERIES, 3, mask, mask, generator=generator),
            "mask_labels": torch.randint(2, (expressions, QUERIES, 20, 28 + index), generator=generator).float(),
            "frame_times": torch.linspace(0, 1, 1 + QUERIES),
        }

    def collate(self, config, samples):
        rows = [row for sample in samples for row in sample["input_ids"]]
        pad = torch.nn.utils.rnn.pad_sequence
        input_ids = pad(rows, batch_first=True, padding_value=PAD)
        return {
            "input_ids": input_ids,
            "attention_mask": pad([torch.ones_like(row) for row in rows], batch_first=True),
            "labels": torch.where(input_ids == SEG, input_ids, -100),
            "pixel_values": torch.stack([sample["pixel_values"] for sample in samples]),
            "mask_pixel_values": torch.stack([sample["mask_pixel_values"] for sample in samples]),
            "mask_labels": [sample["mask_labels"] for sample in samples],
            "expressions_per_video": torch.tensor([len(sample["input_ids"]) for sample in samples]),
            "frame_times": torch.stack([sample["frame_times"] for sample in samples]),
        }

    def results(self, output, samples):
        embeddings = output.seg_embeddings.split([len(sample["input_ids"]) for sample in samples])
        return [
            {"masks": masks, "seg_embeddings": states}
            for masks, states in zip(output.mask_logits, embeddings, strict=True)
        ]

    def extend_padding(self, batch, length):
        pads = {"input_ids": PAD, "attention_mask": 0, "labels": -100}
        return batch | {name: F.pad(batch[name], (0, length), value=value) for name, value in pads.items()}

    def odd_configs(self):
        return [
            {"pooling": 1},
            {"pooling": 2, "mask_size": 96},
            {"image": 48, "patch": 16, "pooling": 2},  # nine patches: the last one is dropped
            {"image": 56, "patch": 14, "mask_size": 128, "frame_position_embedding": True},
        ]

    # ---- what trains

    def test_exactly_the_trainable_parts_get_a_gradient(self):
        model = self.tiny_model().train()
        freeze_pretrained_parts(model)
        found = gradients(model, self.batch(model))
        assert found.keys() == {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        decoder = "model.mask_model.mask_decoder."
        expected = (
            *("lm_head.", "model.language_model.", "model.mm_projector.", "model.seg_projection."),
            *(decoder + part for part in ("transformer.", "upscale_", "output_hypernetworks_mlps.0.")),
            *(decoder + part for part in ("iou_token.", "mask_tokens.", "obj_score_token.")),
        )
        assert all(name.startswith(expected) for name in found), [n for n in found if not n.startswith(expected)]
        for prefix in expected:
            assert any(name.startswith(prefix) for name in found), prefix
        # a bias of the keys shifts all scores of a query alike: its gradient is zero by softmax
        zero = [name for name, gradient in found.items() if not gradient.any() and "k_proj.bias" not in name]
        assert not zero

    @pytest.mark.parametrize("detach", [True, False])
    def test_gradient_through_memory(self, detach):
        model = self.tiny_model(detach_memory=detach).train()
        output = model(**self.batch(model))
        last = output.mask_logits[0][:, -1].square().sum()
        (gradient,) = torch.autograd.grad(last, output.seg_embeddings)
        assert gradient[:2, -1].abs().min() > 0
        assert gradient[2].abs().max() == 0  # the other video
        assert bool(gradient[:2, :-1].any()) is not detach

    def test_every_memory_gets_a_gradient_if_not_detached(self):
        model = self.tiny_model(detach_memory=False).train()
        output = model(**self.batch(model))
        (gradient,) = torch.autograd.grad(output.mask_logits[1][:, -1].square().sum(), output.seg_embeddings)
        assert (gradient[2].abs().amax(-1) > 0).all()

    def test_gradient_through_memory_is_the_slope(self):
        """What a [SEG] of the first frame does to the mask of the last, against finite differences."""
        model = self.tiny_model(detach_memory=False).eval().double()
        batch = self.batch(model)
        features = model.model.encode_mask_frames(batch["mask_pixel_values"][1].double())
        generator = torch.Generator().manual_seed(0)
        width = model.config.mask_config.prompt_encoder_config.hidden_size
        states = torch.randn(QUERIES, 1, width, generator=generator).double()
        direction = torch.randn(1, width, generator=generator).double()

        def last_mask(first):
            bank = MemoryBank(model.config.num_maskmem, 1)
            for frame, state in enumerate([first, *states[1:]]):
                masks = model.model.decode_frame(features.select(torch.tensor([frame])), state, bank, frame, [True])
            return masks.square().mean()

        first = states[0].clone().requires_grad_(True)
        (gradient,) = torch.autograd.grad(last_mask(first), first)
        with torch.no_grad():
            rise = last_mask(states[0] + 1e-2 * direction) - last_mask(states[0] - 1e-2 * direction)
        slope = (gradient * direction).sum()
        assert slope.abs() > 1e-9
        assert rise.item() / 2e-2 == pytest.approx(slope.item(), rel=1e-3)  # rotary tables are float32 in SAM-2

    # ---- options

    def test_without_memory_frames_are_independent(self):
        model = self.tiny_model(num_maskmem=0)
        batch = self.batch(model)
        with torch.no_grad():
            output = model(**batch)
            features = model.model.encode_mask_frames(batch["mask_pixel_values"][1])
            bank = MemoryBank(0, 1)
            prompts = output.seg_embeddings[2]
            alone = model.model.decode_frame(features, prompts, bank, 0, [True] * QUERIES)
        assert_same(alone, output.mask_logits[1][0], rtol=1e-4, atol=1e-5)
        assert not bank.entries
        with_memory = self.run(self.tiny_model())["results"][1]["masks"]
        assert_differs(with_memory[:, 1:], alone[None, 1:])

    @pytest.mark.parametrize(("option", "value"), [("fuser_scale", "identity"), ("memory_features", "raw")])
    def test_memory_options_change_later_frames_only(self, option, value):
        default, changed = (self.run(self.tiny_model(**kwargs))["results"] for kwargs in ({}, {option: value}))
        for ours, reference in zip(changed, default, strict=True):
            assert_same(ours["seg_embeddings"], reference["seg_embeddings"])
            assert_same(ours["masks"][:, 0], reference["masks"][:, 0])
            for frame in range(1, QUERIES):
                assert_differs(ours["masks"][:, frame], reference["masks"][:, frame])

    def test_identity_fuser_is_one_with_zero_scale(self):
        model = self.tiny_model()
        for layer in model.model.mask_model.memory_encoder.memory_fuser.layers:
            layer.scale.data.zero_()
        assert_same(self.run(model), self.run(self.tiny_model(fuser_scale="identity")), rtol=1e-5, atol=1e-6)

    def test_training_stride_is_the_one_of_the_config(self):
        default, strided = (self.run(self.tiny_model(training_memory_stride=r))["results"][0] for r in (1, 3))
        assert memory_indices(3, 7, 1) == [0, 1, 2] and memory_indices(3, 7, 3) == [0, 2]
        assert_same(strided["masks"][:, :3], default["masks"][:, :3])  # frames 0 to 2 have the same memories
        assert_differs(strided["masks"][:, 3], default["masks"][:, 3])

    def test_penultimate_state_changes_the_prompts(self):
        default, changed = (self.run(self.tiny_model(seg_hidden_state=kind)) for kind in ("last", "penultimate"))
        assert_differs(changed["results"][0]["seg_embeddings"], default["results"][0]["seg_embeddings"])

    def test_penultimate_state_is_the_one_before_the_last_layer(self):
        model = self.tiny_model(seg_hidden_state="penultimate")
        embeddings = torch.randn(1, 5, 32, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            last, penultimate = model.model.read_states(embeddings, None)
            layer = model.model.language_model.layers[-1]
            positions = model.model.language_model.rotary_emb(embeddings, torch.arange(5)[None])
            mask = torch.full((5, 5), -torch.inf).triu(1)[None, None]
            states = layer(penultimate, attention_mask=mask, position_embeddings=positions)
            assert_same(model.model.language_model.norm(states), last, rtol=1e-4, atol=1e-5)

    def test_precision_of_dense_positions(self):
        exact = self.tiny_model().model.dense_positions()
        upcast = self.tiny_model(dense_position_dtype="float32").model.dense_positions()
        assert_same(upcast, exact, rtol=1e-4, atol=1e-5)
        models = [self.tiny_model(dense_position_dtype=dtype).bfloat16().model for dtype in ("model", "float32")]
        low, high = (model.dense_positions() for model in models)
        matrix = models[0].mask_model.shared_image_embedding.positional_embedding
        assert low.dtype == high.dtype == matrix.dtype == torch.bfloat16
        assert_differs(low, high)
        # what the released runs did: grid, product and sine in bfloat16
        grid = (torch.arange(4, dtype=torch.bfloat16) + 0.5) / 4
        grid = 2 * torch.stack(torch.meshgrid(grid, grid, indexing="xy"), dim=-1) - 1
        phases = 2 * math.pi * (grid @ matrix)
        assert_same(low[0].permute(1, 2, 0), torch.cat([phases.sin(), phases.cos()], dim=-1))

    def test_sine_positions_of_bfloat16_are_rounded_only_once(self):
        """Of the image and of the memories: the public program computes them in float32, whatever the model is in."""

        def positions(model):
            size = model.config.mask_config.image_size
            features = model.model.encode_mask_frames(torch.zeros(2, 3, size, size))
            image = model.model.condition_on_memory(features, MemoryBank(7, 1), 0)
            logits = torch.zeros(2, 4 * image.shape[-2], 4 * image.shape[-1], dtype=image.dtype)
            return features.position, model.model.encode_memory(image, logits)[1]

        with torch.no_grad():
            exact, low = positions(self.tiny_model()), positions(self.tiny_model().bfloat16())
        for wide, narrow in zip(exact, low):
            assert narrow.dtype == torch.bfloat16 and wide.shape[1] == 2
            assert torch.equal(narrow, wide.bfloat16())

    def test_multimask_fallback(self):
        def masks(fallback, train=False):
            model = self.tiny_model(multimask_fallback=fallback).train(train)
            model.model.mask_model.mask_decoder.dynamic_multimask_stability_thresh = 2.0  # no mask is stable enough
            return self.run(model)["results"][0]["masks"]

        assert_differs(masks(True), masks(False))
        assert_same(masks(True, train=True), masks(False, train=True))
        assert_same(masks(False), masks(False, train=True))

    def test_fallback_survives_saving(self, tmp_path):
        self.tiny_model(multimask_fallback=False).save_pretrained(tmp_path)
        loaded = GLUSForVideoSegmentation.from_pretrained(tmp_path)
        assert not loaded.model.mask_model.mask_decoder.dynamic_multimask_via_stability

    def test_frame_times(self):
        model = self.tiny_model(frame_position_embedding=True)
        batch = self.batch(model)
        moved = self.run(model, batch | {"frame_times": batch["frame_times"] / 2})["results"][0]
        assert_differs(moved["seg_embeddings"], self.run(model, batch)["results"][0]["seg_embeddings"])
        with pytest.raises(ValueError, match="frame_times"):
            self.run(model, batch | {"frame_times": None})

    def test_unknown_option_is_refused(self):
        with pytest.raises(ValueError, match="fuser_scale must be one of"):
            self.tiny_config(fuser_scale="none")
        with pytest.raises(ValueError, match="memory_stride is 0; it must be from 1 to 1000000"):
            GLUSConfig(memory_stride=0)

    # ---- decoding with failed expressions

    def test_failed_expression_writes_no_memory_and_disturbs_no_other(self):
        model = self.tiny_model().model
        generator = torch.Generator().manual_seed(0)
        prompts = torch.randn(6, 2, 32, generator=generator)
        with torch.no_grad():
            features = model.encode_mask_frames(torch.randn(6, 3, 64, 64, generator=generator))

        def decode(texts, failed, skipped=()):
            bank, masks = MemoryBank(7, 2), []
            for frame in range(6):
                active = [not (text == 1 and frame in failed) for text in texts]
                view = features.select(torch.full((len(texts),), frame))
                with torch.no_grad():
                    masks.append(model.decode_frame(view, prompts[frame, texts], bank, frame, active))
                if frame in skipped:
                    del bank.entries[frame]
            return torch.stack(masks, dim=1)

        for failed in ({2}, {0, 1}):
            both = decode([0, 1], failed)
            assert_same(both[:1], decode([0], ()), rtol=1e-4, atol=1e-5)
            assert_same(both[1:], decode([1], (), skipped=failed), rtol=1e-4, atol=1e-5)
            assert_differs(both[1:, max(failed) + 1 :], decode([1], ())[:, max(failed) + 1 :])

    def test_a_frame_without_any_memory_uses_the_no_memory_embedding(self):
        model = self.tiny_model().model
        features = model.encode_mask_frames(torch.zeros(1, 3, 64, 64))
        bank = MemoryBank(7, 3)
        bank.write(0, torch.zeros(16, 1, 64), torch.zeros(16, 1, 64), [False])
        assert_same(model.condition_on_memory(features, bank, 1), model.condition_on_memory(features, bank, 0))

    # ---- wrong batches

    def test_wrong_number_of_image_positions(self):
        model = self.tiny_model()
        batch = self.batch(model)
        ids = batch["input_ids"].clone()
        ids[0, 1] = 5
        with pytest.raises(ValueError, match="image positions"):
            model(**batch | {"input_ids": ids})

    def test_image_positions_of_the_wrong_conversation(self):
        model = self.tiny_model()
        batch = self.batch(model)
        ids = batch["input_ids"].clone()
        ids[0, 1], ids[1, 0] = 5, model.config.image_token_id  # the total is right
        with pytest.raises(ValueError, match="image positions"):
            model(**batch | {"input_ids": ids})

    def test_wrong_number_of_seg_tokens(self):
        model = self.tiny_model()
        batch = self.batch(model)
        batch["input_ids"] = batch["input_ids"].masked_fill(
            torch.arange(len(batch["input_ids"]))[:, None].eq(0) & batch["input_ids"].eq(SEG), 5
        )
        with pytest.raises(ValueError, match=r"\[SEG\]"):
            model(**batch)

    def test_wrong_number_of_expressions(self):
        model = self.tiny_model()
        with pytest.raises(ValueError, match="conversations"):
            model(**self.batch(model) | {"expressions_per_video": [1, 1]})

    # ---- losses

    def test_loss_is_the_weighted_sum(self):
        model = self.tiny_model(ce_loss_weight=3.0, mask_bce_loss_weight=5.0, mask_dice_loss_weight=7.0)
        output = model(**self.batch(model))
        expected = 3 * output.ce_loss + 5 * output.mask_bce_loss + 7 * output.mask_dice_loss
        assert_same(output.loss, expected, rtol=1e-6, atol=0)

    def test_ce_loss_is_over_supervised_positions_only(self):
        model = self.tiny_model()
        batch = self.batch(model)
        output = model(**batch)
        logits = model.lm_head(output.hidden_states)
        terms = [
            -logits[row, position - 1].log_softmax(-1)[SEG]
            for row, position in (batch["labels"] != -100).nonzero().tolist()
        ]
        assert len(terms) == 3 * QUERIES
        assert_same(output.ce_loss, torch.stack(terms).mean(), rtol=1e-5, atol=0)

    def test_text_without_masks(self):
        model = self.tiny_model()
        batch = self.batch(model)
        texts = {name: batch[name] for name in batch if "mask_" not in name or name == "attention_mask"}
        output = model(**texts)
        assert output.mask_logits is None
        assert_same(output.loss, model(**batch).ce_loss)


def assert_differs(first, second):
    assert first.shape == second.shape
    assert (first - second).abs().max() > 1e-3 * second.abs().max()


# ---- memory


def test_memory_schedule_of_upstream():
    table = {1: [0], 2: [0, 1], 3: [0, 2], 4: [0, 3], 5: [0, 3, 4], 8: [0, 3, 6, 7]}
    table |= {0: [], 19: [0, 3, 6, 9, 12, 15, 18], 20: [3, 6, 9, 12, 15, 18, 19]}
    for frame, expected in table.items():
        assert memory_indices(frame, num_maskmem=7, stride=3) == expected
    assert memory_indices(3, num_maskmem=7, stride=1) == [0, 1, 2]
    assert memory_indices(9, num_maskmem=1, stride=3) == [8]
    assert memory_indices(9, num_maskmem=0, stride=3) == []


@pytest.mark.parametrize("stride", range(1, 6))
def test_pruned_bank_equals_unpruned(stride):
    """Whatever was written when, what is dropped is never read again and little is kept."""
    generator = torch.Generator().manual_seed(stride)
    for num_maskmem in range(9):
        for rate in (1.0, 0.6):
            bank, everything = MemoryBank(num_maskmem, stride), {}
            for frame in range(60):
                wanted = memory_indices(frame, num_maskmem, stride)
                assert len(wanted) <= num_maskmem and wanted == sorted(set(wanted))
                assert bank.read(frame) == [everything[index] for index in wanted if index in everything]
                if torch.rand((), generator=generator) < rate:
                    everything[frame] = (frame, frame, [True])
                    bank.write(frame, *everything[frame])
                assert len(bank.entries) <= num_maskmem + 1


# ---- losses by hand


def test_bce_by_hand():
    logits = torch.tensor([[[0.0, 2.0], [-1.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]])
    targets = torch.tensor([[[1.0, 1.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    terms = [math.log(2), math.log1p(math.exp(-2)), math.log1p(math.exp(-1)), math.log1p(math.exp(4))]
    torch.testing.assert_close(mask_bce_loss(logits, targets), torch.tensor([sum(terms) / 4, math.log(2)]))


def test_dice_by_hand():
    logits = torch.tensor([[0.0, math.log(3)], [-math.log(3), 0.0]])[None]  # probabilities .5 .75 .25 .5
    target = torch.tensor([[1.0, 1.0], [0.0, 0.0]])[None]
    expected = 1 - (2 * 1.25 / 1000 + 1e-6) / (2 / 1000 + 2 / 1000 + 1e-6)
    assert mask_dice_loss(logits, target).item() == pytest.approx(expected, rel=1e-6)


def test_dice_of_an_empty_target():
    empty = torch.zeros(1, 10, 10)
    assert mask_dice_loss(torch.zeros(1, 10, 10), empty).item() == pytest.approx(1 - 1e-6 / (0.05 + 1e-6))
    assert mask_dice_loss(torch.full((1, 10, 10), -100.0), empty).item() == pytest.approx(0, abs=1e-6)
    assert mask_dice_loss(torch.full((1, 10, 10), 100.0), empty + 1).item() == pytest.approx(0, abs=1e-6)


def test_every_mask_counts_once():
    """Videos with more expressions or larger frames weigh by their number of masks, not of pixels."""
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(2, 3, 4, 4, generator=generator), torch.randn(1, 3, 4, 4, generator=generator)]
    labels = [
        torch.randint(2, (2, 3, 8, 8), generator=generator),
        torch.randint(2, (1, 3, 20, 12), generator=generator),
    ]
    bce, dice = mask_losses(logits, labels)
    terms = []
    for video, target in zip(logits, labels):
        resized = F.interpolate(video, target.shape[-2:], mode="bilinear", align_corners=False)
        for mask, truth in zip(resized.flatten(0, 1), target.flatten(0, 1).float()):
            terms.append((F.binary_cross_entropy_with_logits(mask, truth), mask_dice_loss(mask, truth)))
    expected = torch.tensor(terms).mean(0)
    torch.testing.assert_close(torch.stack([bce, dice]), expected)
