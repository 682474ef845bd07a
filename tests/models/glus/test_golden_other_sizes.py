"""The public road against the public program at other sizes (tests/fixtures/upstream_tiny_2): `glus-hf convert`,
`from_pretrained`, `propagate_in_video_iterator`, one training step, `glus-hf export`."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from glus_hf import GLUSForVideoSegmentation, GLUSProcessor
from glus_hf.cli.main import app
from glus_hf.models.glus.convert_glus_to_hf import convert_state_dict
from tests.models.glus.remembered_maps import remembering
from tests.models.glus.small_glus import freeze_pretrained_parts
from tests.models.glus.upstream_folders import load_folder
from tests.paths import FIXTURES


pytest.importorskip("sentencepiece")
FIXTURE = FIXTURES / "upstream_tiny_2"


def read_json(name):
    return json.loads((FIXTURE / name).read_text())


META, GOLDEN = read_json("meta.json"), load_file(FIXTURE / "golden.safetensors")
SCRIPT = load_file(FIXTURE / "golden_failure_and_png.safetensors")
GRADIENTS = {name.removeprefix("train.grad."): tensor for name, tensor in GOLDEN.items() if "train.grad." in name}


def run(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted") / "model"
    sources = ["--source", FIXTURE / "checkpoint", "--clip", FIXTURE / "clip"]
    run("convert", *sources, "--sam2-config", FIXTURE / "sam2_config.yaml", "--output", folder, "--quiet")
    return folder


@pytest.fixture(scope="module")
def new_model(folder):
    """Loads the model. Attention to 16,384 positions takes a second per frame: all of them remember its maps."""
    known = {}

    def load():
        model = GLUSForVideoSegmentation.from_pretrained(folder)
        model.model.encode_mask_frames = remembering(model.model.encode_mask_frames, known)
        return model

    return load


@pytest.fixture(scope="module")
def model(new_model):
    return new_model()


@pytest.fixture(scope="module")
def processor(folder):
    return GLUSProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def frames():
    return [np.array(Image.open(path).convert("RGB")) for path in sorted((FIXTURE / "frames").glob("*.png"))]


@pytest.fixture(scope="module")
def session(processor, frames):
    return processor.init_video_session(frames, META["expression"])


def assert_close(ours, name, tolerance):
    golden = GOLDEN[name] if isinstance(name, str) else name
    assert ours.shape == golden.shape
    difference = (ours - golden).abs().max().item()
    print(f"max difference {difference:.1e} of {golden.abs().max().item():.1e}, limit {tolerance:.1e}")
    assert difference <= tolerance


def assert_same_pixels(processor, logits, name):
    """Masks equal the PNG files that the public script writes, apart from logits that float32 cannot tell from 0."""
    png = torch.from_numpy(np.unpackbits(SCRIPT[name].numpy(), axis=-1, count=logits.shape[-1]) > 0)
    assert not ((processor.post_process_masks(logits) != png) & (logits.abs() > 1e-4)).any()


def test_tokens_and_context(processor, session):
    assert session.context_frame_indices == GOLDEN["context_indices"].tolist()
    for frame in range(session.num_frames):
        window = session.prefix_input_ids + session.turn_input_ids[0] * min(frame, 3) + session.last_turn_input_ids[0]
        assert window == processor.expand_image_tokens(GOLDEN[f"input_ids.{frame}"].tolist())


def test_pixels_and_features(model, processor, frames):
    clip, mask = processor.image_processor.clip_view(frames[:1]), processor.image_processor.mask_view(frames[:1])
    assert_close(clip[0, :, ::8, ::8], "clip_pixel_values.0", 1e-6)
    assert_close(mask[0, :, ::16, ::16], "sam_pixel_values.0", 1e-6)
    with torch.no_grad():
        assert_close(model.model.encode_frames(clip)[0], "image_tokens.0", 1e-5)
        features = model.model.encode_mask_frames(mask)
    assert_close(features.embedding[::37], "sam_backbone_feature.2", 1e-5)
    for level, feature in enumerate(features.high_resolution):
        assert_close(feature[0].mean((1, 2)), f"sam_backbone_feature_mean.{level}", 1e-5)


@pytest.mark.parametrize(
    ("stride", "name"), [(3, "mask_logits"), pytest.param(1, "mask_logits_stride1", marks=pytest.mark.slow)]
)
def test_video(model, processor, session, monkeypatch, stride, name):
    monkeypatch.setattr(model.config, "memory_stride", stride)
    outputs = list(model.propagate_in_video_iterator(session))
    assert_close(torch.cat([output.seg_embeddings for output in outputs]), "seg_embedding", 1e-5)
    masks = torch.cat([output.mask_logits for output in outputs])
    assert_close(masks, name, 1e-4)
    if stride == 3:
        assert_same_pixels(processor, masks, "png")


@pytest.mark.slow
def test_video_from_a_key_frame(model, processor, session):
    key = META["key_frame"]
    masks = {o.frame_idx: o.mask_logits for o in model.propagate_in_video_iterator(session, key_frame=key)}
    forward, backward = range(key, session.num_frames), range(key, -1, -1)
    assert_close(torch.cat([masks[frame] for frame in forward]), "key_forward_mask_logits", 1e-4)
    assert_close(torch.cat([masks[frame] for frame in backward]), "key_backward_mask_logits", 1e-4)
    assert_same_pixels(processor, torch.cat([masks[frame] for frame in range(key + 1)]), "png_from_key_frame")


def test_frames_without_seg(model, session, monkeypatch):
    """A row of the head that wins on the first and two other frames: their masks are empty, they leave no memory."""
    weight = model.lm_head.weight.detach().clone()
    weight[300] = SCRIPT["head_row"]
    monkeypatch.setattr(model.lm_head, "weight", torch.nn.Parameter(weight))
    masks = torch.cat([output.mask_logits for output in model.propagate_in_video_iterator(session)])
    assert session.missing_seg_frames == [SCRIPT["failed"].nonzero()[:, 0].tolist()] == [[0, 3, 4]]
    assert_close(masks[:, ::4, ::4], SCRIPT["mask_logits"], 1e-4)
    assert (masks[SCRIPT["failed"]] < 0).all()


def test_training_step(new_model, processor, frames):
    """The losses, and the gradients as far as float32 decides them (docs/fidelity.md): 3e-5 where they were made."""
    conversations, samples = iter(read_json("train_conversations.json")), []
    for index, sample in enumerate(read_json("train_samples.json")):
        chosen = [*sample["context"], *range(sample["query_start"], sample["query_start"] + 4)]
        texts = [next(conversations) for _ in sample["expressions"]]
        masks = GOLDEN[f"train.masks.{index}"]
        samples.append({"frames": [frames[i] for i in chosen], "conversations": texts, "masks": masks})
    batch = processor(samples)
    for row, length in enumerate(GOLDEN["train.attention_mask"].sum(1)):
        ids = processor.expand_image_tokens(GOLDEN["train.input_ids"][row, :length].tolist())
        assert batch.input_ids[row, : len(ids)].tolist() == ids and batch.attention_mask[row].sum() == len(ids)
    model = new_model().train()
    freeze_pretrained_parts(model)
    output = model(**batch)
    output.loss.backward()
    for name in ("loss", "ce_loss", "mask_bce_loss", "mask_dice_loss"):
        ours = getattr(output, name).item() * getattr(model.config, f"{name}_weight", 1)
        assert ours == pytest.approx(GOLDEN[f"train.{name}"].item(), rel=1e-5), name
    for name, expected in convert_state_dict(GRADIENTS, {}).items():
        print(name)
        assert_close(model.get_parameter(name).grad, expected, 1e-3 * expected.abs().max().item())


def test_round_trip(folder, tmp_path):
    run("export", folder, "--output", tmp_path / "back", "--quiet")
    ours = load_folder(tmp_path / "back")
    theirs = torch.load(FIXTURE / "checkpoint" / "pytorch_model.bin", weights_only=True)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for name in ("config.json", "added_tokens.json"):
        assert json.loads((tmp_path / "back" / name).read_text()) == read_json(f"checkpoint/{name}")
