"""The selector and Chat-UniVi with random weights: the common model tests, what the score depends on, sessions."""

import copy
import threading

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModel

from glus_hf import ChatUniViConfig, ChatUniViForConditionalGeneration, CheckpointError, GLUSSelector, UserError
from glus_hf.models.glus_selector import inference_glus_selector
from glus_hf.models.glus_selector.modeling_glus_selector import score_loss
from tests.models.common import ModelTests, assert_same, gradients, randomize
from tests.models.glus_selector.small_selector import (
    PAD,
    SCORE,
    VOCABULARY,
    selector_config,
    small_processor,
    small_selector,
)


TEXTS = ["the red square", "blue circle moving left", "circle"]


def video(num_frames, seed=0):
    generator = np.random.default_rng(seed)
    return list(generator.integers(0, 256, (num_frames, 40, 48, 3), dtype=np.uint8))


def count_frames(model):
    """A list that gets the number of frames of every call of the tower."""
    counts = []
    model.model.vision_tower.embeddings.register_forward_pre_hook(
        lambda module, args, kwargs: counts.append(len((args or [kwargs["pixel_values"]])[0])), with_kwargs=True
    )
    return counts


class TestGLUSSelector(ModelTests):
    model_class = GLUSSelector

    def tiny_config(self, **overrides):
        return selector_config(**overrides)

    def sample(self, config, index):
        generator = torch.Generator().manual_seed(100 + index)
        size, num_frames, expressions = config.vision_config.image_size, 3 + index, 2 - index
        image = torch.full((num_frames * config.num_image_tokens,), config.image_token_id)
        words = [torch.randint(4, VOCABULARY, (2 + index + row,), generator=generator) for row in range(expressions)]
        rows = [torch.cat([torch.tensor([1]), image, ids, torch.tensor([SCORE, 2])]) for ids in words]
        return {
            "input_ids": rows,
            "pixel_values": torch.randn(num_frames, 3, size, size, generator=generator),
            "score_labels": torch.rand(expressions, generator=generator),
        }

    def collate(self, config, samples):
        rows = [row for sample in samples for row in sample["input_ids"]]
        pad = torch.nn.utils.rnn.pad_sequence
        input_ids = pad(rows, batch_first=True, padding_value=PAD)
        return {
            "input_ids": input_ids,
            "attention_mask": pad([torch.ones_like(row) for row in rows], batch_first=True),
            "labels": torch.where(input_ids == SCORE, input_ids, -100),
            "pixel_values": torch.cat([sample["pixel_values"] for sample in samples]),
            "score_labels": torch.cat([sample["score_labels"] for sample in samples]),
            "frames_per_video": torch.tensor([len(sample["pixel_values"]) for sample in samples]),
            "expressions_per_video": torch.tensor([len(sample["input_ids"]) for sample in samples]),
        }

    def results(self, output, samples):
        counts = [len(sample["input_ids"]) for sample in samples]
        parts = zip(output.scores.split(counts), output.score_states.split(counts), strict=True)
        return [{"scores": scores, "states": states} for scores, states in parts]

    def extend_padding(self, batch, length):
        pads = {"input_ids": PAD, "attention_mask": 0, "labels": -100}
        return batch | {name: F.pad(batch[name], (0, length), value=value) for name, value in pads.items()}

    def odd_configs(self):
        return [
            {"clusters": (16, 16, 2)},
            {"clusters": (5,), "spatial_neighbours": (3,)},
            {"image": 56, "patch": 14, "clusters": (7, 6, 5)},
            {"use_cluster": False},
            {"score_head_size": 1},
            {"merge_dtype": "model"},
        ]

    def test_loading_in_bfloat16_keeps_computed_buffers(self, tmp_path):
        model = self.tiny_model()
        model.save_pretrained(tmp_path)
        loaded = self.model_class.from_pretrained(tmp_path, dtype=torch.bfloat16)
        dtypes = {name.startswith("score_head."): tensor.dtype for name, tensor in loaded.state_dict().items()}
        assert dtypes == {True: torch.float32, False: torch.bfloat16}
        loaded.save_pretrained(tmp_path / "again")
        again = self.model_class.from_pretrained(tmp_path / "again")
        assert_same(again.state_dict(), loaded.state_dict())

    # ---- what the score is

    def test_the_state_before_the_score_token_is_read(self):
        model = self.tiny_model()
        batch = self.batch(model)
        with torch.no_grad():
            expected = model(**batch)
            rows = [row.tolist().index(SCORE) - 1 for row in batch["input_ids"]]
            states = expected.hidden_states[torch.arange(len(rows)), rows]
            assert_same(expected.score_states, states)
            weights = [model.score_head[index] for index in (0, 2, 4)]
            for layer in weights:
                states = layer(states) if layer is weights[-1] else layer(states).relu()
            assert_same(expected.scores, states[:, 0], rtol=1e-6, atol=1e-6)
            # neither the embedding of [SCORE] nor what follows it matters; what is before it does
            model.get_input_embeddings().weight[SCORE] += 1
            changed = {**batch, "input_ids": batch["input_ids"].masked_fill(batch["input_ids"] == 2, 9)}
            assert_same(model(**changed).scores, expected.scores)
            model.get_input_embeddings().weight[batch["input_ids"][0, rows[0]]] += 1
            assert model(**batch).scores[0] != expected.scores[0]

    def test_the_head_is_computed_in_float32(self):
        model = self.tiny_model()
        states = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
        expected = model.score_head(states)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_same(model.score_head(states), expected)
        half = copy.deepcopy(model.score_head).bfloat16()
        exact = copy.deepcopy(half).float()
        assert_same(half(states.bfloat16()), exact(states.bfloat16().float()))

    def test_losses_by_hand(self):
        model = self.tiny_model(ce_loss_weight=2.0, score_loss_weight=3.0)
        batch = self.batch(model)
        output = model(**batch)
        distances = (output.scores - batch["score_labels"]).abs()
        assert_same(output.score_loss, (distances[:2].mean() + distances[2]) / 2, rtol=1e-6, atol=0)
        assert_same(output.loss, 2 * output.ce_loss + 3 * output.score_loss)
        logits = model.lm_head(output.score_states)
        assert_same(output.ce_loss, F.cross_entropy(logits, torch.full((3,), SCORE)), rtol=1e-6, atol=0)
        alone = model(**{**batch, "score_labels": None})
        assert alone.score_loss is None and torch.equal(alone.loss, 2 * output.ce_loss)
        alone = model(**{**batch, "labels": None})
        assert alone.ce_loss is None and torch.equal(alone.loss, 3 * output.score_loss)
        assert model(**{**batch, "labels": None, "score_labels": None}).loss is None

    def test_every_video_counts_once(self):
        loss = score_loss(torch.tensor([1.0, 3.0, 10.0]), torch.zeros(3), [2, 1])
        assert loss.item() == pytest.approx((2 + 10) / 2)

    def test_only_the_frozen_parts_get_no_gradient(self):
        model = self.tiny_model().train()
        model.model.vision_tower.requires_grad_(False)
        model.model.mm_projector.requires_grad_(False)
        found = gradients(model, self.batch(model))
        frozen = {name for name, _ in model.named_parameters() if "vision_tower" in name or "mm_projector" in name}
        assert found.keys() == {name for name, _ in model.named_parameters()} - frozen
        assert all(gradient.any() for gradient in found.values())

    def test_noise_can_be_injected(self):
        model = self.tiny_model(clusters=(8, 4, 3))  # two clusters would have one neighbour each, and equal densities
        batch = self.batch(model)
        shapes = []

        def noise(shape):
            shapes.append(shape)
            return torch.zeros(shape)

        with torch.no_grad():
            assert_same(model(**batch, density_noise=noise).scores, model(**batch).scores, rtol=1e-5, atol=1e-5)
        assert shapes == [(1, 16), (1, 8), (1, 4)] * 7
        scores = [model(**batch, density_noise=torch.Generator().manual_seed(seed)).scores for seed in (0, 0)]
        assert_same(scores[0], scores[1])

    # ---- what is refused

    def test_batches_that_do_not_fit(self):
        model = self.tiny_model()
        batch = self.batch(model)
        ids = batch["input_ids"]
        for change, words in [
            ({"frames_per_video": [4, 3]}, "image positions"),
            ({"frames_per_video": [3, 3]}, "does not fit 7 frames"),
            ({"expressions_per_video": [2, 2]}, "2 videos and 3 conversations"),
            ({"expressions_per_video": [3, 0]}, "2 videos and 3 conversations"),
            ({"input_ids": ids.masked_fill(ids == SCORE, 9)}, r"one \[SCORE\] token, got \[0, 0, 0\]"),
            ({"input_ids": ids.masked_fill(ids == 2, SCORE)}, r"one \[SCORE\] token, got \[2, 2, 2\]"),
        ]:
            with pytest.raises(ValueError, match=words):
                model(**{**batch, **change})
        model.config.score_token_id = None
        with pytest.raises(ValueError, match="score_token_id is not set"):
            model(**batch)

    def test_configs_that_are_refused(self):
        for overrides, words in [
            ({"clusters": (17, 4, 2)}, "16 patches cannot be merged into"),
            ({"clusters": (8, 9, 2)}, "cannot be merged"),
            ({"clusters": (8, 4)}, "equally many"),
            ({"clusters": (8, 4, 1)}, "at least 2"),
            ({"merge_dtype": "int8"}, "merge_dtype must be one of"),
        ]:
            with pytest.raises(ValueError, match=words):
                self.tiny_config(**overrides)

    def test_other_models_are_refused(self, tmp_path):
        with pytest.raises(CheckpointError, match="no such folder"):
            GLUSSelector.from_pretrained(tmp_path / "nowhere")
        model = self.tiny_model()
        model.save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match="'glus_selector' model, not 'chat_univi'"):
            ChatUniViForConditionalGeneration.from_pretrained(tmp_path)
        model.score_head[0] = torch.nn.Identity()
        model.save_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match="2 missing .score_head.0.bias"):
            GLUSSelector.from_pretrained(tmp_path)


# ---- sessions


def naive_scores(model, processor, session):
    """Every frame and expression by a forward pass of its own over the whole conversation."""
    scores = torch.zeros(len(session.texts), session.num_frames)
    for frame in range(session.num_frames):
        shown = [session.frames[index] for index in [*session.context_frame_indices(frame), frame]]
        for row, text in enumerate(session.texts):
            with torch.no_grad():
                scores[row, frame] = model(**processor({"frames": shown, "expressions": [text]})).scores[0]
    return scores


@pytest.mark.parametrize("batch_size", [None, pytest.param(1, marks=pytest.mark.slow), 4])
@pytest.mark.parametrize(
    ("num_frames", "strategy"),
    [
        *[(1, None), (7, None), (23, None), (23, "paper"), (12, [11, 0, 3])],
        pytest.param(40, "paper", marks=pytest.mark.slow),
    ],
)
def test_session_equals_single_passes_and_encodes_every_frame_once(num_frames, strategy, batch_size):
    model, processor = small_selector()
    session = processor.init_video_session(video(num_frames), TEXTS, strategy)
    expected = naive_scores(model, processor, session)
    counts = count_frames(model)
    scores = model.score_frames(session, batch_size)
    assert sum(counts) == num_frames
    assert scores.shape == (3, num_frames) and session.scores is scores
    assert expected.std() > 100 * 1e-5
    assert_same(scores, expected, atol=1e-5)
    assert_same(model.select_key_frame(session), expected.argmax(1))
    assert sum(counts) == num_frames


def test_prefix_is_read_once_per_context(monkeypatch):
    model, processor = small_selector()
    session = processor.init_video_session(video(23), TEXTS)
    calls, read = [], model.read_prefix
    monkeypatch.setattr(model, "read_prefix", lambda ids, tokens: calls.append(len(tokens)) or read(ids, tokens))
    model.score_frames(session)
    assert calls == [8, 8, 7]


@pytest.mark.parametrize(("strategy", "most"), [("upstream", 11), ("paper", 8 + 15)])
def test_tokens_of_a_frame_are_not_kept_longer_than_needed(monkeypatch, strategy, most):
    model, processor = small_selector()
    kept, encode = [], inference_glus_selector._Encoder.encode

    def record(self, frames):
        encode(self, frames)
        kept.append(len(self.tokens))

    monkeypatch.setattr(inference_glus_selector._Encoder, "encode", record)
    model.score_frames(processor.init_video_session(video(120), "circle", strategy))
    assert max(kept) == most


def test_ties_go_to_the_first_frame():
    model, processor = small_selector()
    session = processor.init_video_session(video(4), TEXTS)
    scores = torch.tensor([[0.1, 0.7, 0.7, 0.2], [0.5, 0.5, 0.5, 0.5], [-3.0, -2.0, -1.0, -1.0]])
    assert model.select_key_frame(session, scores).tolist() == [1, 0, 2]
    with torch.no_grad():
        for parameter in model.score_head.parameters():
            parameter.zero_()
    assert model.select_key_frame(session).tolist() == [0, 0, 0]


def test_key_frames_of_another_model_are_not_reused():
    (first, processor), (second, _) = small_selector(0), small_selector(1)
    session = processor.init_video_session(video(9), TEXTS)
    expected = second.select_key_frame(processor.init_video_session(video(9), TEXTS))
    first.score_frames(session)
    assert_same(second.select_key_frame(session), expected)
    counts = count_frames(second)
    second.select_key_frame(session)
    assert not counts


def test_no_state_on_the_model():
    model, processor = small_selector()
    names = set(vars(model)) | set(vars(model.model)) | {name for name, _ in model.named_buffers()}
    session = processor.init_video_session(video(5), TEXTS)
    before = torch.get_rng_state()
    first = model.score_frames(session)
    assert names == set(vars(model)) | set(vars(model.model)) | {name for name, _ in model.named_buffers()}
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(model.score_frames(session), first)


def test_threads_share_a_model():
    model, processor = small_selector()
    sessions = [processor.init_video_session(video(9, seed), TEXTS[: seed + 1]) for seed in range(3)]
    expected = [model.score_frames(session) for session in sessions]
    results = [None] * 3

    def score(index):
        results[index] = model.score_frames(sessions[index])

    threads = [threading.Thread(target=score, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_same(results, expected)


def test_sessions_that_do_not_fit():
    model, processor = small_selector()
    session = processor.init_video_session(video(3), TEXTS)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        model.score_frames(session, 0)
    with pytest.raises(ValueError, match="training mode"):
        copy.deepcopy(model).train().score_frames(session)
    with pytest.raises(ValueError, match="num_image_tokens is 13, the model's 14"):
        model.score_frames(small_processor(num_image_tokens=13).init_video_session(video(3), TEXTS))
    with pytest.raises(ValueError, match=r"crop_size is \(40, 40\), the model's \(32, 32\)"):
        model.score_frames(small_processor(image=40).init_video_session(video(3), TEXTS))


def test_noise_of_a_session_is_sampled_once_per_frame():
    model, processor = small_selector()
    session = processor.init_video_session(video(23), TEXTS)
    shapes = []

    def noise(shape):
        shapes.append(shape)
        return torch.zeros(shape)

    model.score_frames(session, density_noise=noise)
    assert shapes == [(1, 16), (1, 8), (1, 4)] * 23


# ---- Chat-UniVi


@pytest.fixture
def base():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = selector_config(config_class=ChatUniViConfig, temporal_cluster_rate=0.25, temporal_neighbours=2)
        return randomize(ChatUniViForConditionalGeneration(config)).eval()


def base_inputs(config, num_images=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(4, VOCABULARY, (6,), generator=generator)
    image = torch.full((num_images * config.num_image_tokens,), config.image_token_id)
    size = config.vision_config.image_size
    ids = torch.cat([torch.tensor([1]), words[:3], image, words[3:]])[None]
    return {"input_ids": ids, "pixel_values": torch.randn(num_images, 3, size, size, generator=generator)}


def test_base_survives_saving(base, tmp_path):
    base.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is ChatUniViForConditionalGeneration
    inputs = base_inputs(base.config)
    with torch.no_grad():
        assert_same(loaded(**inputs).logits, base(**inputs).logits)


def test_base_loss(base):
    inputs = base_inputs(base.config)
    labels = inputs["input_ids"].where(inputs["input_ids"] > 0, -100)
    output = base(**inputs, labels=labels)
    targets = labels[0, 1:]
    expected = F.cross_entropy(output.logits[0, :-1][targets >= 0], targets[targets >= 0])
    assert_same(output.loss, expected, rtol=1e-6, atol=0)
    assert base(**inputs, labels=torch.full_like(labels, -100)).loss == 0


def test_generation_encodes_the_images_once(base):
    inputs = base_inputs(base.config)
    counts = []
    base.model.vision_tower.embeddings.register_forward_hook(lambda *args: counts.append(1))
    ids = base.generate(**inputs, max_new_tokens=4, min_new_tokens=4, do_sample=False, pad_token_id=0)
    assert len(counts) == 1
    expected = inputs["input_ids"]
    for _ in range(4):
        with torch.no_grad():
            logits = base(expected, inputs["pixel_values"], logits_to_keep=1).logits
        assert logits.shape == (1, 1, VOCABULARY)
        expected = torch.cat([expected, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(ids[:, -4:], expected[:, -4:])


def test_groups(base):
    """One or two adjacent images are merged one by one, more as a video."""
    pixels = base_inputs(base.config, 7)["pixel_values"]
    model = base.model
    with torch.no_grad():
        groups = model.encode_groups(pixels, [1, 2, 4])
        assert [len(tokens) for tokens in groups] == [14, 28, 14]
        single = model.encode_images(pixels)
        assert_same(groups[0], single[0], atol=1e-5)
        assert_same(groups[1], single[1:3].flatten(0, 1), atol=1e-5)
        assert_same(groups[2], model.encode_video(pixels[3:]), atol=1e-5)
        assert len(model.encode_video(pixels)) == base.config.num_video_tokens(7) == 28
        assert_same(torch.cat(model.encode_groups(pixels)), single.flatten(0, 1), atol=1e-5)
        for wrong in ([3, 3], [7, 0]):
            with pytest.raises(ValueError, match="does not fit 7 images"):
                model.encode_groups(pixels, wrong)


def test_samples_of_groups_come_in_upstreams_order(base):
    shapes = []

    def noise(shape):
        shapes.append(shape)
        return torch.zeros(shape)

    with torch.no_grad():
        base.model.encode_groups(base_inputs(base.config, 6)["pixel_values"], [1, 2, 3], noise)
    image, pair = [(1, 16), (1, 8), (1, 4)], [(2, 16), (2, 8), (2, 4)]
    assert shapes == image + pair + [(1, 3), (3, 16), (3, 8), (3, 4), (1, 24), (1, 12), (1, 6)]


def test_without_clusters():
    config = selector_config(config_class=ChatUniViConfig, use_cluster=False)
    base = ChatUniViForConditionalGeneration(config).eval()
    pixels = base_inputs(config, 5)["pixel_values"]
    assert (config.num_image_tokens, config.num_video_tokens(5)) == (16, 21)
    with torch.no_grad():
        patches = base.model.patch_features(pixels)
        assert_same(base.model.encode_images(pixels), base.model.mm_projector(patches), atol=1e-5)
        means = torch.cat([patches.mean(0), patches.mean(1)])
        assert_same(base.model.encode_video(pixels), base.model.mm_projector(means), atol=1e-5)


def test_images_that_do_not_fit(base):
    inputs = base_inputs(base.config)
    with pytest.raises(ValueError, match="28 image positions but the images give 14 tokens"):
        base(inputs["input_ids"], inputs["pixel_values"][:1])
    with pytest.raises(ValueError, match="28 image positions but the images give 0 tokens"):
        base(inputs["input_ids"])


@pytest.mark.parametrize(
    ("vocab_size", "num_image_tokens", "message"),
    [(8, 14, "gives the token .*, the model has 8"), (VOCABULARY * 4, 13, "num_image_tokens is 13, the model's 14")],
)
def test_a_processor_of_another_selector_is_refused(vocab_size, num_image_tokens, message):
    processor = small_processor(num_image_tokens=num_image_tokens)
    model = GLUSSelector(selector_config(vocab_size=vocab_size)).eval()
    session = processor.init_video_session(video(4), TEXTS)
    with pytest.raises(UserError, match=f"{message}.*; load both from one checkpoint"):
        model.score_frames(session)
