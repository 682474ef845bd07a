"""The converter: the miniature in every container, files of the released shapes, and everything that does not fit."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from glus_hf import CheckpointError, GLEEForVideoSegmentation, GLEEProcessor
from glus_hf.cli.main import app
from glus_hf.conversion.plan import WeightsDoNotFit
from glus_hf.models.glee.configuration_eva02_glee import GLEEEva02Config
from glus_hf.models.glee.configuration_glee import GLEEConfig
from glus_hf.models.glee.convert_glee_to_hf import GLEEConversionPlan, ReleasedWeights, convert_checkpoint
from glus_hf.models.glee.eva02_glee import GLEEEva02Backbone
from glus_hf.models.glee.original_config_glee import config_values
from glus_hf.models.glee.weight_names_glee import ROTARY_TABLE, original_name, strip_prefixes
from tests.models.common import randomize
from tests.models.glee.original_folders import Miniature
from tests.models.glee.small_glee import small_eva02, word_tokenizer
from tests.paths import FIXTURES


FOLDER = FIXTURES / "glee_tiny"
SIZES = FIXTURES / "glee_released" / "shapes.json"
OPTIONAL = ("sot_fuser.", "text_encoder_teacher.", "criterion.")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A folder with a tokenizer that fits the miniature's vocabulary."""
    folder = tmp_path_factory.mktemp("clip")
    word_tokenizer(["red", "dog"]).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def weights():
    return load_file(FOLDER / "checkpoint.safetensors")


def sizes_of_the_miniature():
    """What no shape tells: heads of the text tower, queries, groups of the norms."""
    mini = Miniature(FOLDER)
    text = config_values({strip_prefixes(name): tensor for name, tensor in mini.weights.items()}, "")["text_config"]
    text = {**text, "num_attention_heads": mini.settings["text"]["num_attention_heads"]}
    return {"text_config": text, "num_queries": mini.settings["num_queries"]}


def convert(weights, folder, clip, **options):
    file = folder / "GLEE_Tiny.pth"
    torch.save(weights, file)
    options = {"config": sizes_of_the_miniature(), "progress": False, **options}
    return convert_checkpoint(file, clip, folder / "out", **options)


# ---- what comes out


def test_the_miniature_answers_as_the_release(weights, tmp_path, clip):
    mini, out = Miniature(FOLDER), convert(weights, tmp_path, clip)
    model = GLEEForVideoSegmentation.from_pretrained(out)
    with torch.no_grad():
        names = mini.tokenize(mini.settings["category_names"])
        output = model(mini.pixels("category.frames"), **names, task="category")
    torch.testing.assert_close(output.pred_masks, mini.golden["category.out.layer2.pred_masks"], rtol=0, atol=1e-3)
    processor = GLEEProcessor.from_pretrained(out)
    assert processor.max_text_tokens == mini.settings["text"]["max_position_embeddings"]
    record = json.loads((out / "conversion.json").read_text())
    assert record["kind"] == "glee" and "criterion.empty_weight" in record["left_out"]


CONTAINERS = {
    "flat": lambda weights: {strip_prefixes(name): tensor for name, tensor in weights.items()},
    "model": lambda weights: {"model": weights, "iteration": 5},
    "module": lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()},
    "without optional weights": lambda weights: {
        name: tensor for name, tensor in weights.items() if not strip_prefixes(name).startswith(OPTIONAL)
    },
    "with position_ids": lambda weights: {
        **weights,
        "glee.text_encoder.text_model.embeddings.position_ids": torch.arange(20)[None],
    },
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_weights(weights, tmp_path, clip, container):
    out = convert(CONTAINERS[container](weights), tmp_path, clip)
    left_out = (".teacher.", "crop_projections") if container == "without optional weights" else (".teacher.",)
    model = Miniature(FOLDER).model()
    expected = {name: t for name, t in model.state_dict().items() if not any(part in name for part in left_out)}
    found = load_file(out / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_the_teacher_is_kept_when_asked_for(weights, tmp_path, clip):
    out = convert(weights, tmp_path, clip, keep_teacher=True)
    model = GLEEForVideoSegmentation.from_pretrained(out)
    assert model.state_dict().keys() == Miniature(FOLDER).model().state_dict().keys()


def test_half_precision_leaves_the_decoders_in_float32(weights, tmp_path, clip):
    out = convert(weights, tmp_path, clip, dtype="bfloat16")
    kinds = {name.split(".")[1]: tensor.dtype for name, tensor in load_file(out / "model.safetensors").items()}
    assert kinds["text_encoder"] == kinds["backbone"] == torch.bfloat16
    assert kinds["pixel_decoder"] == kinds["decoder"] == kinds["prompter"] == torch.float32
    assert GLEEForVideoSegmentation.from_pretrained(out).dtype == torch.bfloat16


# ---- what does not fit


@pytest.mark.parametrize(
    ("name", "listed"),
    [
        ("pixel_decoder.mask_features.bias", "1 missing .pixel_decoder.mask_features.bias"),
        ("predictor.decoder.layers.1.self_attn.in_proj_weight", r"3 missing .*in_proj_weight\[0\]"),
        ("predictor.bbox_embed.1.layers.0.bias", "1 missing .predictor.bbox_embed.1.layers.0.bias"),
        ("mask_sptial_embed.2", "1 missing .mask_sptial_embed.2"),
    ],
)
def test_a_missing_weight_is_listed(weights, tmp_path, clip, name, listed):
    left = {key: tensor for key, tensor in weights.items() if strip_prefixes(key) != name}
    with pytest.raises(WeightsDoNotFit, match=listed) as error:
        convert(left, tmp_path, clip)
    assert "\n" not in str(error.value) and not (tmp_path / "out").exists()


def test_a_missing_weight_that_tells_the_sizes_is_named(weights, tmp_path, clip):
    left = {key: tensor for key, tensor in weights.items() if strip_prefixes(key) != "lang_projection"}
    with pytest.raises(CheckpointError, match="no checkpoint of GLEE, or an incomplete one .no 'lang_projection'"):
        convert(left, tmp_path, clip)


def test_a_surplus_weight_is_listed(weights, tmp_path, clip):
    surplus = {**weights, "glee.predictor.more.weight": torch.zeros(2)}
    with pytest.raises(WeightsDoNotFit, match="1 unexpected .predictor.more.weight"):
        convert(surplus, tmp_path, clip)


def test_a_wrong_shape_is_listed(weights, tmp_path, clip):
    changed = {**weights, "glee.predictor.enc_output.weight": torch.zeros(3, 3)}
    with pytest.raises(WeightsDoNotFit, match=r"predictor.enc_output.weight \[3, 3\] instead of \[64, 64\]"):
        convert(changed, tmp_path, clip)


def test_copies_must_be_equal(weights, tmp_path, clip):
    name = "glee.predictor.decoder.bbox_embed.2.layers.1.weight"
    with pytest.raises(
        CheckpointError, match="bbox_embed.2.layers.1.weight: differ from the weights that they repeat"
    ):
        convert({**weights, name: weights[name] + 1}, tmp_path, clip)


def test_other_files_are_refused_in_one_line(tmp_path, clip):
    for content, message in (
        ({"backbone.net.blocks.0.attn.q_bias": torch.zeros(2)}, "incomplete one .no 'backbone.net.pos_embed'"),
        ({"sam.weight": torch.zeros(2)}, "is no checkpoint of GLEE"),
    ):
        with pytest.raises(CheckpointError, match=message) as error:
            convert(content, tmp_path, clip, config=None)
        assert "\n" not in str(error.value)


# ---- the released models


@pytest.fixture(scope="module")
def released():
    """Names and shapes of all tensors of GLEE-Lite, GLEE-Plus and GLEE-Pro."""
    return json.loads(SIZES.read_text())


def backbone_of(variant):
    return {"lite": "resnet", "plus": "swin", "pro": "glee_eva02"}[variant]


@pytest.mark.parametrize("variant", ["lite", "plus", "pro"])
@pytest.mark.parametrize("keep_teacher", [False, True])
def test_every_released_weight_has_its_place(released, variant, keep_teacher, monkeypatch):
    """By names and shapes alone, without data."""
    shapes = {f"glee.{name}": torch.empty(shape, device="meta") for name, shape in released[variant].items()}
    monkeypatch.setattr("glus_hf.conversion.weight_files.read_weights", lambda file: iter(shapes.items()))
    source = ReleasedWeights(variant, [None], keep_teacher)
    config = GLEEConfig(**config_values(source.original_shapes(), variant), text_teacher=source.has_teacher())
    plan = GLEEConversionPlan(config, [source])
    plan.check()
    assert plan.misfits == {"missing": [], "unexpected": [], "of the wrong shape": []}
    used = [name for names in plan.targets.values() for name in names]
    assert len(used) == len(set(used)) == len(plan.targets)
    assert config.backbone_config.model_type == backbone_of(variant) and config.text_teacher is keep_teacher
    default = GLEEConfig(fusion_text_mask=False)
    for field in (
        "d_model",
        "encoder_layers",
        "decoder_layers",
        "encoder_ffn_dim",
        "fusion_dim",
        "query_sine_features",
    ):
        assert getattr(config, field) == getattr(default, field)
    assert config.label_tables == default.label_tables and config.text_config.vocab_size == 49408


def test_sizes_of_pro_are_read_from_its_shapes(released):
    shapes = {name: torch.empty(shape, device="meta") for name, shape in released["pro"].items()}
    found = config_values(shapes, "pro")["backbone_config"]
    assert GLEEEva02Config(**{**found, "drop_path_rate": 0.3}).to_dict() == GLEEEva02Config().to_dict()
    fewer = {name: tensor for name, tensor in shapes.items() if ".rope" not in name}  # as its starting weights are
    assert GLEEEva02Config(**config_values(fewer, "pro")["backbone_config"]).to_dict() == GLEEEva02Config().to_dict()


# ---- a small GLEE-Pro


EVA = small_eva02(hidden_size=128, rope_grid=16, pyramid_channels=64)


def eva02_in_the_released_layout():
    config = GLEEEva02Config(**{key: value for key, value in EVA.items() if key != "model_type"})
    backbone = randomize(GLEEEva02Backbone(config), seed=1)
    weights = {original_name(f"model.backbone.{name}"): tensor for name, tensor in backbone.state_dict().items()}
    layers = [f"blocks.{layer}.attn.rope" for layer in range(config.num_hidden_layers)]
    for place in ("rope_win", "rope_glb", *layers):
        for kind in ("cos", "sin"):
            name = f"backbone.net.{place}.freqs_{kind}"
            weights[name] = rotary_table(name, config)
    return weights, backbone


def rotary_table(name, config):
    """Not by the code that is tested."""
    layer = ROTARY_TABLE.fullmatch(name)["i"]
    is_global = "rope_glb" in name if layer is None else int(layer) in config.global_attention_indexes
    grid = config.grid if is_global else config.window_size
    count = config.hidden_size // config.num_attention_heads // 4
    speeds = config.rope_theta ** (-np.arange(count) / count)
    places = np.arange(grid) / grid * config.rope_grid
    rows = np.broadcast_to(places[:, None, None] * speeds, (grid, grid, count))
    angles = np.concatenate([rows, rows.transpose(1, 0, 2)], 2).repeat(2, axis=2).reshape(grid * grid, -1)
    return torch.from_numpy(np.cos(angles) if name.endswith("cos") else np.sin(angles)).float()


@pytest.fixture(scope="module")
def pro(weights):
    """The miniature with another backbone, and that backbone."""
    generator = torch.Generator().manual_seed(2)
    left = {strip_prefixes(name): tensor for name, tensor in weights.items()}
    left = {name: tensor for name, tensor in left.items() if not name.startswith(("backbone.", "pixel_decoder.input"))}
    for name in left:
        if re.fullmatch(r"sot_fuser\.refine\.\d\.weight|pixel_decoder\.adapter_1\.weight", name):
            kernel = left[name].shape[2:]
            left[name] = 0.1 * torch.randn(64, 64, *kernel, generator=generator)
    backbone_weights, backbone = eva02_in_the_released_layout()
    return {**left, **backbone_weights}, backbone


def test_a_small_pro_becomes_a_model(pro, tmp_path, clip):
    weights, backbone = pro
    sizes = {**sizes_of_the_miniature(), "num_queries": 20}
    out = convert(weights, tmp_path, clip, config=sizes)
    model, processor = GLEEForVideoSegmentation.from_pretrained(out), GLEEProcessor.from_pretrained(out)
    config = model.config.backbone_config
    assert (config.window_size, config.image_size, config.global_attention_indexes) == (5, 96, [1])
    found = model.model.backbone.state_dict()
    assert found.keys() == backbone.state_dict().keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in backbone.state_dict().items())
    inputs = processor(np.zeros((20, 40, 3), np.uint8), ["red", "dog"])
    assert inputs["pixel_values"].shape == (1, 3, 96, 96)
    with torch.no_grad():
        assert model(**inputs).pred_masks.isfinite().all()
    left_out = json.loads((out / "conversion.json").read_text())["left_out"]
    assert "backbone.net.rope_glb.freqs_cos" in left_out and "backbone.net.blocks.1.attn.rope.freqs_sin" in left_out


def test_rotary_positions_of_another_kind_are_refused(pro, tmp_path, clip):
    weights, _ = pro
    name = "backbone.net.blocks.2.attn.rope.freqs_sin"
    with pytest.raises(CheckpointError, match=f"pth: {name}: are not the rotary positions of GLEE-Pro"):
        convert({**weights, name: weights[name].flip(0)}, tmp_path, clip)


def test_a_missing_bias_of_pro_is_listed(pro, tmp_path, clip):
    weights, _ = pro
    left = {key: tensor for key, tensor in weights.items() if key != "backbone.net.blocks.1.attn.v_bias"}
    with pytest.raises(WeightsDoNotFit, match=r"1 missing .backbone.net.blocks.1.attn.v_bias"):
        convert(left, tmp_path, clip)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "parameters"), [("lite", 127_272_261), ("pro", 399_604_293)])
def test_a_whole_release_with_random_weights(released, tmp_path, clip, variant, parameters):
    """Converted through the command line and loaded: 0.8 GB, 1.9 GB."""
    generator = torch.Generator().manual_seed(0)
    random = lambda shape: 0.02 * torch.randn(shape, generator=generator)
    weights = {f"glee.{name}": random(shape) for name, shape in released[variant].items()}
    for name in list(weights):  # what repeats other weights
        own = strip_prefixes(name)
        if ".bbox_embed." in own:
            weights[name] = weights[
                "glee.predictor._bbox_embed." + own.split(".", 3 if "decoder" not in own else 4)[-1]
            ]
        if own.startswith("predictor.decoder.norm."):
            weights[name] = weights[f"glee.predictor.decoder_norm.{own.rsplit('.', 1)[1]}"]
        if ROTARY_TABLE.fullmatch(own):
            weights[name] = rotary_table(own, GLEEEva02Config())
    file = tmp_path / "GLEE_joint.pth"
    torch.save(weights, file)
    call = ["convert", "--source", str(file), "--clip", str(clip), "--output", str(tmp_path / "out"), "--quiet"]
    done = CliRunner().invoke(app, call)
    assert done.exit_code == 0, done.output
    model = GLEEForVideoSegmentation.from_pretrained(tmp_path / "out")
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    torch.testing.assert_close(model.model.text_encoder.projection.weight, weights["glee.lang_projection"].T)


def test_the_command_line_converts_a_file(weights, tmp_path, clip):
    """Sizes come from the shapes; the number of queries is that of the released models."""
    file = tmp_path / "GLEE_Tiny.safetensors"
    save_file({name: tensor.contiguous().clone() for name, tensor in weights.items()}, file)
    call = ["convert", "--source", str(file), "--clip", str(clip), "--output", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, [*call, "--quiet"])
    assert done.exit_code == 0, done.output
    model = GLEEForVideoSegmentation.from_pretrained(tmp_path / "out")
    assert model.config.num_queries == 300 and model.config.bottleneck_sizes == [8, 16, 16, 24]
    refused = CliRunner().invoke(app, [*call[:-2], str(tmp_path / "other"), "--compat", "paper"])
    assert refused.exit_code != 0
