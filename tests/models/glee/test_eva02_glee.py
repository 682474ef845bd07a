"""The backbone of GLEE-Pro against a second one in plain NumPy, and GLEE with it."""

import math

import numpy as np
import pytest
import torch

from glus_hf import CheckpointError, GLEEConfig, GLEEForVideoSegmentation, GLEEImageProcessor, GLEEProcessor, UserError
from glus_hf.models.glee.configuration_eva02_glee import GLEEEva02Config
from glus_hf.models.glee.eva02_glee import GLEEEva02Backbone, rotary_angles
from glus_hf.training.glee_parameters import layer_of
from tests.models.common import assert_same, randomize
from tests.models.glee import test_modeling_glee
from tests.models.glee.small_glee import LENGTH, small_eva02, small_model, word_tokenizer


# ---- the second implementation


class PlainBackbone:
    """One image at a time, in float64, by loops."""

    def __init__(self, config, weights):
        self.config = config
        self.weights = {name: tensor.double().numpy() for name, tensor in weights.items()}

    def __call__(self, image):
        states = self.patches(image)
        states = states + self.positions(*states.shape[:2])
        for index in range(self.config.num_hidden_layers):
            states = self.block(f"blocks.{index}.", states, index in self.config.global_attention_indexes)
        return self.pyramid(states)

    def patches(self, image):
        side, weight = self.config.patch_size, self.weights["patch_embedding.weight"]
        rows, columns = (size // side for size in image.shape[1:])
        out = np.empty((rows, columns, len(weight)))
        for y in range(rows):
            for x in range(columns):
                patch = image[:, y * side : (y + 1) * side, x * side : (x + 1) * side]
                out[y, x] = (weight * patch).sum((1, 2, 3))
        return out + self.weights["patch_embedding.bias"]

    def positions(self, rows, columns):
        grid = self.weights["position_embedding"][0, 1:]  # the first is that of the class token
        side = math.isqrt(len(grid))
        return np.einsum("ya,xb,abc->yxc", cubic(side, rows), cubic(side, columns), grid.reshape(side, side, -1))

    def block(self, at, states, is_global):
        normed = self.norm(at + "norm1", states)
        if is_global:
            flat = self.attention(at + "attention.", normed.reshape(-1, normed.shape[-1]), self.config.grid)
            states = states + flat.reshape(states.shape)
        else:
            states = states + self.in_windows(at + "attention.", normed)
        hidden = self.norm(at + "norm2", states)
        gate = self.linear(at + "mlp.gate_proj", hidden)
        hidden = gate / (1 + np.exp(-gate)) * self.linear(at + "mlp.up_proj", hidden)
        return states + self.linear(at + "mlp.down_proj", self.norm(at + "mlp.norm", hidden))

    def in_windows(self, at, states):
        side = self.config.window_size
        rows, columns, dim = states.shape
        out = np.empty_like(states)
        for top in range(0, rows, side):
            for left in range(0, columns, side):
                window = np.zeros((side, side, dim))
                part = states[top : top + side, left : left + side]
                window[: part.shape[0], : part.shape[1]] = part
                seen = self.attention(at, window.reshape(-1, dim), side).reshape(side, side, dim)
                out[top : top + side, left : left + side] = seen[: part.shape[0], : part.shape[1]]
        return out

    def attention(self, at, rows, grid):
        query, key, value = (self.linear(f"{at}{name}_proj", rows) for name in "qkv")
        size = rows.shape[1] // self.config.num_attention_heads
        heads = []
        for begin in range(0, rows.shape[1], size):
            head = slice(begin, begin + size)
            turned = [turn(values[:, head], grid, self.config) for values in (query, key)]
            scores = np.exp(turned[0] @ turned[1].T / math.sqrt(size))
            heads.append(scores / scores.sum(1, keepdims=True) @ value[:, head])
        return self.linear(at + "o_proj", np.concatenate(heads, 1))

    def pyramid(self, states):
        rows, columns, dim = states.shape
        large = np.empty((2 * rows, 2 * columns, dim // 2))
        for down in range(2):
            for right in range(2):
                weight = self.weights["pyramid.enlarge.weight"][:, :, down, right]
                large[down::2, right::2] = states @ weight + self.weights["pyramid.enlarge.bias"]
        even = states[: rows // 2 * 2, : columns // 2 * 2]
        small = even.reshape(rows // 2, 2, columns // 2, 2, dim).max((1, 3))
        maps = [self.project(index, values) for index, values in enumerate((large, states, small))]
        return [values.transpose(2, 0, 1) for values in (*maps, maps[-1][::2, ::2])]

    def project(self, index, values):
        at = f"pyramid.projections.{index}."
        values = self.norm(at + "1", values @ self.weights[at + "0.weight"][:, :, 0, 0].T)
        padded = np.pad(values, ((1, 1), (1, 1), (0, 0)))
        rows, columns = values.shape[:2]
        kernel = self.weights[at + "2.weight"]
        moved = (padded[y : y + rows, x : x + columns] @ kernel[:, :, y, x].T for y in range(3) for x in range(3))
        return self.norm(at + "3", sum(moved))

    def linear(self, name, values):
        return values @ self.weights[name + ".weight"].T + self.weights.get(name + ".bias", 0)

    def norm(self, name, values):
        centred = values - values.mean(-1, keepdims=True)
        values = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
        return values * self.weights[name + ".weight"] + self.weights[name + ".bias"]


def turn(values, grid, config):
    """Pairs of channels as complex numbers; the first half turns by the row, the second by the column."""
    pairs = values[:, ::2] + 1j * values[:, 1::2]
    quarter = pairs.shape[1] // 2
    speeds = config.rope_theta ** (-np.arange(quarter) / quarter)
    turned = np.empty_like(pairs)
    for row in range(len(pairs)):
        for channel in range(2 * quarter):
            place = (row // grid if channel < quarter else row % grid) / grid * config.rope_grid
            turned[row, channel] = pairs[row, channel] * np.exp(1j * place * speeds[channel % quarter])
    out = np.empty_like(values)
    out[:, ::2], out[:, 1::2] = turned.real, turned.imag
    return out


def cubic(inputs, outputs):
    """Weights `[outputs, inputs]` of bicubic interpolation with a = -0.75; the border repeats."""
    matrix = np.zeros((outputs, inputs))
    for out in range(outputs):
        centre = (out + 0.5) * inputs / outputs - 0.5
        for at in range(math.floor(centre) - 1, math.floor(centre) + 3):
            far = abs(centre - at)
            near_weight = (1.25 * far - 2.25) * far * far + 1
            far_weight = ((-0.75 * far + 3.75) * far - 6) * far + 3
            matrix[out, min(max(at, 0), inputs - 1)] += near_weight if far <= 1 else far_weight
    return matrix


def backbone_and_config(**overrides):
    values = {key: value for key, value in small_eva02(**overrides).items() if key != "model_type"}
    config = GLEEEva02Config(**values)
    return randomize(GLEEEva02Backbone(config), seed=3).eval(), config


@pytest.mark.parametrize("size", [(96, 96), (64, 40), (24, 24)], ids=["square", "wide", "one window"])
def test_it_equals_the_plain_implementation(size):
    """Of a full grid, of one that windows do not divide, and of a crop, whose places are the first of the grid."""
    backbone, config = backbone_and_config()
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        found = backbone.double()(image).feature_maps
    expected = PlainBackbone(config, backbone.state_dict())(image[0].numpy())
    assert len(found) == len(expected) == 4
    for ours, plain in zip(found, expected, strict=True):
        assert ours.shape[1:] == plain.shape
        assert np.abs(ours[0].numpy() - plain).max() < 1e-5 * np.abs(plain).max()


def test_a_short_sequence_takes_the_first_places_of_the_released_table():
    config = GLEEEva02Config()
    angles = rotary_angles(256, config.grid, config, torch.device("cpu"))
    assert angles.shape == (256, 32)
    # the 97th patch of a crop of 16 x 16 is in its seventh row, but counts as the start of the second of 96
    assert angles[96].tolist() == pytest.approx([16 / 96 * 10000 ** (-k / 16) for k in range(16)] + [0.0] * 16)


def test_drop_path_grows_to_the_last_layer():
    backbone, _ = backbone_and_config(drop_path_rate=0.4)
    assert [block.drop_path.drop_prob for block in backbone.blocks] == pytest.approx([0.0, 0.2, 0.4])
    image = torch.randn(2, 3, 64, 64)
    first, second = (backbone.train()(image).feature_maps[0] for _ in range(2))
    assert (first - second).abs().max() > 1e-3


def test_images_beyond_the_positions_are_refused():
    backbone, _ = backbone_and_config()
    with pytest.raises(UserError, match="12 x 16 patches of 8 pixels, this model has positions for 144; .* 96 pixels"):
        backbone(torch.zeros(1, 3, 96, 128))


# ---- configurations


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 10**9}, "hidden_size is 1000000000; it must be from 1"),
        ({"hidden_size": 20}, "hidden_size is 20, no multiple of 4 x 2 heads"),
        ({"image_size": 100}, "image_size is 100, not 1 to 512 patches of 8"),
        ({"image_size": 8192, "patch_size": 1}, "image_size is 8192, not 1 to 512 patches of 1"),
        ({"window_size": 13}, "window_size is 13, more than the 12 patches"),
        ({"window_size": 0}, "window_size is 0; it must be from 1"),
        ({"global_attention_indexes": [3]}, "a layer beyond the 3 there are"),
        ({"position_grid": 10**6}, "position_grid is 1000000; it must be from 1 to 512"),
        ({"pyramid_channels": 8}, "maps of 8 channels, but there are num_feature_levels=4 of d_model=32"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers is 10000000; it must be"),
        ({"layer_norm_eps": float("nan")}, "layer_norm_eps is nan"),
        ({"depths": 3}, "depths cannot be a field"),
    ],
)
def test_what_does_not_go_together_is_refused(change, message):
    with pytest.raises(CheckpointError, match=message) as error:
        GLEEConfig.tiny(backbone_config=small_eva02(**change))
    assert "\n" not in str(error.value)


def test_levels_other_than_the_maps_are_refused():
    with pytest.raises(CheckpointError, match="num_feature_levels=3"):
        GLEEConfig.tiny(backbone_config=small_eva02(), num_feature_levels=3)


def test_rates_fall_towards_the_first_layer():
    names = ("patch_embedding.x", "position_embedding", "blocks.0.x", "blocks.23.norm1.x", "pyramid.enlarge.x")
    assert [layer_of(name, GLEEEva02Config().depths) for name in names] == [0, 0, 1, 24, 25]


# ---- GLEE with it


class Pro(test_modeling_glee.TestGLEE):
    """The tests of every model."""

    def tiny_config(self, **overrides):
        backbone = small_eva02(drop_path_rate=0.0)
        return GLEEConfig.tiny(**{"fusion_dropout": 0.0, "backbone_config": backbone, **overrides})


@pytest.mark.parametrize(
    "name",
    [
        "test_fresh_model_is_finite",
        "test_batch_equals_one_by_one",
        "test_gradient_checkpointing_keeps_gradients",
        "test_bfloat16_is_close",
        "test_every_trainable_weight_gets_a_gradient",
    ],
)
@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")
def test_glee_works_with_it_as_with_others(name):
    getattr(Pro(), name)()


def test_gradients_are_recomputed_in_its_layers():
    model = Pro().tiny_model()
    model.gradient_checkpointing_enable()
    assert all(block.gradient_checkpointing for block in model.model.backbone.blocks)


def test_a_saved_model_is_loaded_again(tmp_path):
    Pro().test_config_survives_saving(tmp_path / "config")
    Pro().test_loaded_model_is_the_saved_one(tmp_path / "model", {})


def test_objects_lie_where_the_masks_are(tmp_path):
    """Masks of stride 8, images padded to a square of grey."""
    model = small_model(backbone_config=small_eva02(patch_size=16, image_size=192, window_size=3))
    square = {"height": 192, "width": 192}
    images = GLEEImageProcessor(size={"longest_edge": 192}, pad_size=square, pad_value=128)
    processor = GLEEProcessor(images, word_tokenizer(), max_text_tokens=LENGTH)
    processor.save_pretrained(tmp_path)
    processor = GLEEProcessor.from_pretrained(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (30, 60, 3), dtype=np.uint8)
    inputs = processor(image, ["dog", "cat"])
    assert inputs["pixel_values"].shape == (1, 3, 192, 192)
    grey = (128 - 255 * torch.tensor(images.image_mean)) / (255 * torch.tensor(images.image_std))
    assert_same(inputs["pixel_values"][0, :, 96:].mean((1, 2)), grey, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        outputs = model(**inputs)
    assert outputs.pred_masks.shape[-2:] == (24, 24)
    (found,) = processor.post_process_instance_segmentation(outputs, [(30, 60)])
    logits = torch.nn.functional.interpolate(outputs.pred_masks, (192, 192), mode="bilinear")[..., :96, :]
    expected = torch.nn.functional.interpolate(logits, (30, 60), mode="bilinear")[0] > 0
    assert all(any(torch.equal(mask, query) for query in expected) for mask in found["masks"])
    assert (found["boxes"] <= torch.tensor([60.0, 30, 60, 30])).all()


@pytest.mark.parametrize("original", [(720, 1280), (1, 4000), (3000, 2000)])
def test_images_are_resized_by_the_longer_side(original):
    square = {"height": 1536, "width": 1536}
    processor = GLEEImageProcessor(size={"longest_edge": 1536}, pad_size=square, pad_value=128)
    assert max(processor.resized_size(original)) == 1536


def test_prompts_and_videos_are_read():
    model = small_model(backbone_config=small_eva02(patch_size=16, image_size=192, window_size=3))
    square = {"height": 192, "width": 192}
    images = GLEEImageProcessor(size={"longest_edge": 192}, pad_size=square, pad_value=128)
    processor = GLEEProcessor(images, word_tokenizer(), max_text_tokens=LENGTH)
    video = np.random.default_rng(0).integers(0, 256, (3, 30, 60, 3), dtype=np.uint8)
    with torch.no_grad():
        outputs = model(**processor(video[0], input_boxes=[[[10, 5, 30, 20]]]))
    (found,) = processor.post_process_prompts(outputs, [(30, 60)])
    assert found["masks"].shape == (1, 30, 60)
    session = processor.init_video_session(video, ["red dog", "cat"])
    frames = [output.mask_logits.shape for output in model.propagate_in_video_iterator(session)]
    assert frames == [(2, 30, 60)] * 3


def test_parameters_of_the_released_size():
    """The paper's Table 3."""
    with torch.device("meta"):
        config = GLEEConfig(backbone_config={"model_type": "glee_eva02"}, text_config={"vocab_size": 49408})
        model = GLEEForVideoSegmentation(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == 399_604_293
