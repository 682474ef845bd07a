"""The model against the numbers of the public GLUS program (tests/fixtures/upstream_tiny), stage by stage.

Pixel values: test_image_processing_glus.py; templates and tokens of all kinds: test_processing_glus.py. With `-rP`
every test prints how far it is from the public program; docs/fidelity.md has the numbers.
"""

import copy
import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from transformers import LlamaTokenizer

from glus_hf.models.glus.convert_glus_to_hf import config_from_upstream, convert_state_dict
from glus_hf.models.glus.image_processing_glus import GLUSImageProcessor
from glus_hf.models.glus.modeling_glus import GLUSForVideoSegmentation
from glus_hf.models.glus.processing_glus import GLUSProcessor
from glus_hf.models.memory_bank import MemoryBank
from tests.models.glus.remembered_maps import remembering
from tests.models.glus.small_glus import freeze_pretrained_parts
from tests.paths import FIXTURES


FIXTURE = FIXTURES / "upstream_tiny"
EMBEDDING_TOLERANCE = 1e-5
LOGIT_TOLERANCE = 1e-4
LOSS_TOLERANCE = 1e-5  # relative
GRADIENT_TOLERANCE = 1e-5  # of the largest value of the tensor


def read_json(name):
    return json.loads((FIXTURE / name).read_text())


META = read_json("meta.json")


@pytest.fixture(scope="module")
def upstream_state():
    return torch.load(FIXTURE / "checkpoint" / "pytorch_model.bin", weights_only=True)


@pytest.fixture(scope="module")
def clip_state():
    return load_file(FIXTURE / "clip" / "model.safetensors")


@pytest.fixture(scope="module")
def config():
    return config_from_upstream(
        read_json("checkpoint/config.json"),
        read_json("clip/config.json"),
        FIXTURE / "sam2_config.yaml",
        META["seg_token_idx"],
    )


@pytest.fixture(scope="module")
def model(config, upstream_state, clip_state):
    model = GLUSForVideoSegmentation(config)
    model.load_state_dict(convert_state_dict(upstream_state, clip_state), strict=True)
    return model.eval()


@pytest.fixture(scope="module")
def golden():
    return load_file(FIXTURE / "golden.safetensors")


@pytest.fixture(scope="module")
def frames():
    return [np.array(Image.open(path).convert("RGB")) for path in sorted((FIXTURE / "frames").glob("*.png"))]


@pytest.fixture(scope="module")
def processor():
    pytest.importorskip("sentencepiece")
    return GLUSProcessor(GLUSImageProcessor(), LlamaTokenizer.from_pretrained(FIXTURE / "checkpoint"))


@pytest.fixture(scope="module")
def image_tokens(model, processor, frames):
    with torch.no_grad():
        return model.model.encode_frames(processor.image_processor.clip_view(frames))


@pytest.fixture(scope="module")
def encode_once(model):
    return remembering(model.model.encode_mask_frames, {})


@pytest.fixture(scope="module")
def mask_features(encode_once, processor, frames):
    with torch.no_grad():
        return encode_once(processor.image_processor.mask_view(frames))


def assert_close(ours, golden, tolerance):
    assert ours.shape == golden.shape
    difference = (ours - golden).abs().max().item()
    print(f"max difference {difference:.1e} of {golden.abs().max().item():.1e}, limit {tolerance:.1e}")
    assert difference <= tolerance


# ---- conversion


def test_config_has_the_sizes_of_the_checkpoint(config):
    assert config.num_image_tokens == 64
    assert (config.text_config.vocab_size, config.text_config.num_hidden_layers) == (483, 3)
    assert config.mask_config.vision_config.backbone_config.window_size_per_stage == [8, 4, 14, 7]
    assert config.mask_config.memory_attention_rope_feat_sizes == [64, 64]
    assert (config.seg_embedding_size, config.vision_feature_layer, config.num_maskmem) == (48, -2, 7)


def test_released_config_is_the_default_config():
    """The sizes of the released checkpoints written as their files have them."""
    sam2 = {
        "image_size": 1024,
        "num_maskmem": 7,
        "sigmoid_scale_for_mem_enc": 20.0,
        "sigmoid_bias_for_mem_enc": -10.0,
        "image_encoder": {
            "trunk": {
                "embed_dim": 144,
                "num_heads": 2,
                "stages": [2, 6, 36, 4],
                "global_att_blocks": [23, 33, 43],
                "window_pos_embed_bkg_spatial_size": [7, 7],
                "window_spec": [8, 4, 16, 8],
            },
            "neck": {
                "d_model": 256,
                "backbone_channel_list": [1152, 576, 288, 144],
                "fpn_top_down_levels": [2, 3],
            },
        },
        "memory_attention": {
            "d_model": 256,
            "num_layers": 4,
            "layer": {
                "activation": "relu",
                "dim_feedforward": 2048,
                "dropout": 0.1,
                "self_attention": {
                    "rope_theta": 10000.0,
                    "feat_sizes": [32, 32],
                    "num_heads": 1,
                    "downsample_rate": 1,
                    "dropout": 0.1,
                },
            },
        },
        "memory_encoder": {
            "out_dim": 64,
            "mask_downsampler": {"kernel_size": 3, "stride": 2, "padding": 1},
            "fuser": {
                "layer": {"dim": 256, "kernel_size": 7, "padding": 3, "layer_scale_init_value": "1e-6"},
                "num_layers": 2,
            },
        },
    }
    llama = dict(hidden_size=4096, intermediate_size=11008, num_hidden_layers=32, num_attention_heads=32)
    llama |= dict(vocab_size=32004, max_position_embeddings=4096, rms_norm_eps=1e-5, pad_token_id=0, out_dim=256)
    clip = dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16)
    clip |= dict(image_size=224, patch_size=14, projection_dim=768)
    upstream = llama | {"mm_vision_select_layer": -2, "model_type": "llava"}
    converted = config_from_upstream(upstream, {"vision_config": clip}, {"model": sam2}, seg_token_id=32000)
    default = type(converted)(seg_token_id=32000)
    assert converted.to_dict() == default.to_dict()


def test_number_of_memories_is_the_public_program_s_own():
    """7, whatever the SAM-2 file says: there it is the number of temporal codes, which GLUS does not use."""
    sam2 = yaml.safe_load((FIXTURE / "sam2_config.yaml").read_text())
    sam2["model"]["num_maskmem"] = 4
    converted = config_from_upstream(read_json("checkpoint/config.json"), read_json("clip/config.json"), sam2, 480)
    assert (converted.num_maskmem, converted.mask_config.num_maskmem) == (7, 4)


def test_sam2_of_another_width_is_refused(config):
    upstream = read_json("checkpoint/config.json") | {"out_dim": 256}
    with pytest.raises(ValueError, match="256 dimensions"):
        config_from_upstream(upstream, read_json("clip/config.json"), FIXTURE / "sam2_config.yaml", 480)


def test_every_weight_is_used_once_and_unchanged(upstream_state, clip_state):
    converted = convert_state_dict(upstream_state, clip_state)
    ignored = sum(name.endswith("inv_freq") for name in upstream_state)
    # four point embeddings become one, the positional matrix two
    assert len(converted) == len(upstream_state) - ignored + len(clip_state) - 3 + 1
    before = [tensor for name, tensor in upstream_state.items() if not name.endswith("inv_freq")]
    total = sum(tensor.double().sum() for tensor in [*before, *clip_state.values()])
    copy = converted["model.mask_model.shared_image_embedding.positional_embedding"]
    assert sum(tensor.double().sum() for tensor in converted.values()) - copy.double().sum() == pytest.approx(
        total.item(), abs=1e-6
    )


def test_unknown_weights_are_all_listed(upstream_state, clip_state):
    wrong = upstream_state | {"model.visual_model.nonsense": torch.zeros(1), "base_model.x": torch.zeros(1)}
    with pytest.raises(ValueError, match=r"3 weights.*base_model\.x, model\.visual_model\.nonsense, vision_model\.y"):
        convert_state_dict(wrong, clip_state | {"vision_model.y": torch.zeros(1)})


# ---- encode


def test_image_tokens(image_tokens, golden):
    assert_close(image_tokens[0], golden["image_tokens.0"], EMBEDDING_TOLERANCE)


def test_mask_features(mask_features, golden):
    level_2 = mask_features.embedding[:, :1]
    levels = [feature[0].mean((1, 2)) for feature in mask_features.high_resolution] + [level_2.mean((0, 1))]
    assert_close(level_2[::37], golden["sam_backbone_feature.2"], EMBEDDING_TOLERANCE)
    for level, mean in enumerate(levels):
        assert_close(mean, golden[f"sam_backbone_feature_mean.{level}"], EMBEDDING_TOLERANCE)


# ---- read


def test_windows_of_a_session(processor, frames, golden):
    session = processor.init_video_session(frames, META["expression"])
    assert session.context_frame_indices == golden["context_indices"].tolist()
    for frame in range(session.num_frames):
        turns = session.turn_input_ids[0] * min(frame, processor.num_query_frames - 1)
        window = session.prefix_input_ids + turns + session.last_turn_input_ids[0]
        assert window == processor.expand_image_tokens(golden[f"input_ids.{frame}"].tolist())


@pytest.mark.parametrize("frames_at_once", [1, 10])
def test_seg_embeddings(model, processor, frames, image_tokens, golden, frames_at_once):
    session = processor.init_video_session(frames, META["expression"])
    prefix = model.read_prefix(session.prefix_input_ids, image_tokens[session.context_frame_indices])
    windows, tokens = [], []
    for frame in range(session.num_frames):
        first = max(0, frame - model.config.num_query_frames + 1)
        windows.append(session.turn_input_ids[0] * (frame - first) + session.last_turn_input_ids[0])
        tokens.append(image_tokens[first : frame + 1])
    embeddings, emits = [], []
    for start in range(0, session.num_frames, frames_at_once):
        batch = slice(start, start + frames_at_once)
        states, probabilities, found = model.read_windows(prefix, windows[batch], tokens[batch])
        assert ((probabilities > 0) & (probabilities <= 1)).all()
        embeddings.append(states)
        emits += found.tolist()
    assert emits == [golden[f"generated.{frame}"].item() == META["seg_token_idx"] for frame in range(10)]
    assert_close(torch.cat(embeddings), golden["seg_embedding"], EMBEDDING_TOLERANCE)


# ---- decode


@torch.no_grad()
def decode(model, mask_features, seg_embeddings, order, stride):
    """Logits `[frames, 96, 128]` of one pass over the frames of `order`."""
    bank = MemoryBank(model.config.num_maskmem, stride)
    masks = []
    for position, frame in enumerate(order):
        index = torch.tensor([frame])
        low = model.model.decode_frame(mask_features.select(index), seg_embeddings[index], bank, position, [True])
        masks.append(F.interpolate(low[:, None], (96, 128), mode="bilinear", align_corners=False)[0, 0])
    return torch.stack(masks)


@pytest.mark.parametrize(("stride", "name"), [(3, "mask_logits"), (1, "mask_logits_stride1")])
def test_masks(model, mask_features, golden, stride, name):
    """Of the first five frames; `test_video` goes to the end."""
    logits = decode(model, mask_features, golden["seg_embedding"], range(5), stride)
    assert_close(logits, golden[name][:5], LOGIT_TOLERANCE)


def test_strides_differ(golden):
    assert (golden["mask_logits"] - golden["mask_logits_stride1"])[:5].abs().max() > 100 * LOGIT_TOLERANCE


@pytest.mark.parametrize(
    ("option", "value"), [("memory_features", "raw"), ("fuser_scale", "identity"), ("multimask_fallback", False)]
)
def test_masks_tell_the_options_apart(model, mask_features, golden, monkeypatch, option, value):
    """The public program's masks are those of the default options and of no others."""
    monkeypatch.setattr(model.config, option, value)
    decoder = model.model.mask_model.mask_decoder  # got its option when it was made
    monkeypatch.setattr(decoder, "dynamic_multimask_via_stability", model.config.multimask_fallback)
    logits = decode(model, mask_features, golden["seg_embedding"], range(2), 3)
    assert (logits - golden["mask_logits"][:2]).abs().max() > 1000 * LOGIT_TOLERANCE


# ---- the public road


def segment(model, session, **kwargs):
    """Outputs by frame, and the order they came in."""
    outputs = list(model.propagate_in_video_iterator(session, **kwargs))
    return {output.frame_idx: output for output in outputs}, [output.frame_idx for output in outputs]


@pytest.mark.parametrize(
    ("stride", "name"), [(3, "mask_logits"), pytest.param(1, "mask_logits_stride1", marks=pytest.mark.slow)]
)
def test_video(model, encode_once, processor, frames, golden, monkeypatch, stride, name):
    monkeypatch.setattr(model.model, "encode_mask_frames", encode_once)
    monkeypatch.setattr(model.config, "memory_stride", stride)
    session = processor.init_video_session(frames, META["expression"])
    outputs, order = segment(model, session)
    assert order == list(range(10))
    assert session.missing_seg_frames == [[]]
    logits = torch.cat([outputs[frame].mask_logits for frame in order])
    embeddings = torch.cat([outputs[frame].seg_embeddings for frame in order])
    assert_close(embeddings, golden["seg_embedding"], EMBEDDING_TOLERANCE)
    assert_close(logits, golden[name], LOGIT_TOLERANCE)


def test_video_from_a_key_frame(model, encode_once, processor, frames, golden, monkeypatch):
    monkeypatch.setattr(model.model, "encode_mask_frames", encode_once)
    key = META["key_frame"]
    session = processor.init_video_session(frames, META["expression"])
    outputs, order = segment(model, session, key_frame=key, batch_size=3)
    assert order == [*range(key, 10), *range(key - 1, -1, -1)]
    forward = torch.cat([outputs[frame].mask_logits for frame in range(key, 10)])
    backward = torch.cat([outputs[frame].mask_logits for frame in range(key, -1, -1)])
    assert_close(forward, golden["key_forward_mask_logits"], LOGIT_TOLERANCE)
    assert_close(backward, golden["key_backward_mask_logits"], LOGIT_TOLERANCE)


# ---- training


@pytest.fixture(scope="module")
def training_batch(processor, frames, golden):
    conversations = iter(read_json("train_conversations.json"))
    samples = []
    for index, sample in enumerate(read_json("train_samples.json")):
        queries = range(sample["query_start"], sample["query_start"] + 4)
        samples.append(
            {
                "frames": [frames[frame] for frame in [*sample["context"], *queries]],
                "conversations": [next(conversations) for _ in sample["expressions"]],
                "masks": golden[f"train.masks.{index}"],
            }
        )
    return processor(samples)


def record_relus(model, signs=None):
    """Make all rectifiers of the mask prompt and decoder append their inputs to a list, which is returned. With the
    list of another run they are open where that run's were."""
    inputs = []

    def hook(module, args, output):
        inputs.append(args[0].detach())
        return output if signs is None else args[0] * (signs[len(inputs) - 1] > 0)

    for part in (model.model.seg_projection, model.model.mask_model.mask_decoder):
        for module in part.modules():
            if isinstance(module, nn.ReLU):
                module.register_forward_hook(hook)
    return inputs


def train(model, batch, dtype, signs=None):
    """One step of a copy: the copy with its gradients, the output, the inputs of the rectifiers."""
    trained = copy.deepcopy(model).to(dtype).train()
    freeze_pretrained_parts(trained)
    inputs = record_relus(trained, signs)
    output = trained(**batch)
    output.loss.backward()
    return trained, output, inputs


@pytest.fixture(scope="module")
def exact_step(model, training_batch):
    """In float64: the input of one rectifier in the mask decoder is 1.6e-7 below zero, and the side on which float32
    rounding puts it changes gradients by 5e-4. The golden gradients, though of float32, agree with float64."""
    return train(model, training_batch, torch.float64)


@pytest.fixture(scope="module")
def float32_step(model, training_batch, exact_step):
    """In float32, with the rectifiers open where they are in float64."""
    return train(model, training_batch, torch.float32, signs=exact_step[2])


@pytest.fixture(params=["exact_step", "float32_step"])
def training_step(request):
    """Both are slow; test_golden_other_sizes.py has a step of the quick tests."""
    return request.getfixturevalue(request.param)


def test_training_labels(training_batch, golden):
    """The public program labels whole answers and then keeps [SEG] alone."""
    for row, (ids, labels) in enumerate(zip(training_batch.input_ids, training_batch.labels)):
        kept = (ids != -200) | (ids.roll(1) != -200)  # of an image's positions the first, as its sentinel
        expected = golden["train.labels"][row]
        expected = torch.where(expected == META["seg_token_idx"], expected, -100)
        length = golden["train.attention_mask"][row].sum()
        assert torch.equal(labels[kept][:length], expected[:length])


@pytest.mark.slow
def test_losses(training_step, golden):
    trained, output, _ = training_step
    assert output.loss.item() == pytest.approx(golden["train.loss"].item(), rel=LOSS_TOLERANCE)
    for name in ("ce_loss", "mask_bce_loss", "mask_dice_loss"):
        ours = (getattr(output, name) * getattr(trained.config, f"{name}_weight")).item()
        expected = golden[f"train.{name}"].item()
        print(f"{name}: relative difference {abs(ours / expected - 1):.1e}, limit {LOSS_TOLERANCE:.1e}")
        assert ours == pytest.approx(expected, rel=LOSS_TOLERANCE), name


@pytest.mark.slow
def test_gradients(training_step, golden):
    trained = training_step[0]
    gradients = {name.removeprefix("train.grad."): tensor for name, tensor in golden.items() if "train.grad." in name}
    assert len(gradients) == 8
    for name, expected in convert_state_dict(gradients, {}).items():
        print(name)
        assert_close(trained.get_parameter(name).grad, expected, GRADIENT_TOLERANCE * expected.abs().max().item())


@pytest.mark.slow
def test_plain_float32(model, training_batch, golden):
    """Losses as in float64. A rectifier on the other side changes some gradients by 5e-4. The public program itself
    differs as much from these golden numbers when PyTorch is another (docs/fidelity.md)."""
    trained, output, _ = train(model, training_batch, torch.float32)
    assert output.loss.item() == pytest.approx(golden["train.loss"].item(), rel=LOSS_TOLERANCE)
    names = [name for name in golden if name.startswith("train.grad.")]
    for name, expected in convert_state_dict({n.removeprefix("train.grad."): golden[n] for n in names}, {}).items():
        print(name)
        assert_close(trained.get_parameter(name).grad, expected, 1e-3 * expected.abs().max().item())


@pytest.mark.slow
def test_float32_puts_one_rectifier_on_the_other_side(float32_step, exact_step):
    """The finding that `exact_step` tells, and that it is all there is."""
    flipped = [ours[(ours > 0) != (exact > 0)] for ours, exact in zip(float32_step[2], exact_step[2], strict=True)]
    flipped = torch.cat(flipped)
    print(f"{len(flipped)} of {sum(inputs.numel() for inputs in exact_step[2])} on the other side: {flipped.tolist()}")
    assert len(flipped) <= 4 and (flipped.abs() < 1e-6).all()
