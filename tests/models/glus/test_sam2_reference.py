"""The mask branch against SAM-2's own code: the package `sam2` of the registry, tiny models with random weights.

`sam2` is a dependency of these tests only. Without torchvision and CUDA it installs with
`SAM2_BUILD_CUDA=0 pip install sam2==1.1.0 --no-deps --no-build-isolation`, and needs hydra-core, omegaconf and iopath.
"""

import copy

import pytest
import torch
from torch.nn import functional as F
from transformers import Sam2VideoInferenceSession

from glus_hf.models.glus.convert_glus_to_hf import config_from_upstream, convert_state_dict
from glus_hf.models.glus.modeling_glus import GLUSModel
from glus_hf.models.memory_bank import MemoryBank, memory_indices
from tests.models.common import randomize
from tests.paths import FIXTURES


REASON = "needs sam2, hydra-core, omegaconf and iopath (see the docstring of this file)"
instantiate = pytest.importorskip("hydra.utils", reason=REASON).instantiate
OmegaConf = pytest.importorskip("omegaconf", reason=REASON).OmegaConf
pytest.importorskip("sam2", reason=REASON)

FIXTURE = FIXTURES / "upstream_tiny"
IMAGE, WIDTH, FRAMES = 128, 128, 9
TOLERANCE = 1e-5
# what SAM-2 adds to the yaml file when it builds a model for video (apply_postprocessing)
FALLBACK = {"dynamic_multimask_via_stability": True, "dynamic_multimask_stability_delta": 0.05}
FALLBACK |= {"dynamic_multimask_stability_thresh": 0.98}
# what the yaml files of SAM 2.1 say differently
VERSION_2_1 = {"no_obj_embed_spatial": True, "add_tpos_enc_to_obj_ptrs": True, "proj_tpos_enc_in_obj_ptrs": True}
VERSION_2_1 |= {"use_signed_tpos_enc_to_obj_ptrs": True}
# the tracked object is there on all frames; for 2.1, which marks memories without it, on all but the first
SCORE_SHIFT = {"2.0": 5.0, "2.1": 0.3}
ABSENT = -1024.0
LANGUAGE = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
LANGUAGE |= {"num_attention_heads": 1, "mm_vision_select_layer": -2, "out_dim": WIDTH}
CLIP = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 1}
CLIP |= {"image_size": 16, "patch_size": 4}


def resized(config, width):
    """The fixture's SAM-2 config with another width (48 there; a pointer must fill whole memory tokens of 64)."""
    if isinstance(config, dict):
        return {key: resized(value, width) for key, value in config.items()}
    if isinstance(config, list):
        return [resized(value, width) for value in config]
    return width if config == 48 else config


def sam2_config(version):
    config = resized(OmegaConf.to_container(OmegaConf.load(FIXTURE / "sam2_config.yaml").model), WIDTH)
    config |= {"image_size": IMAGE, "binarize_mask_from_pts_for_mem_enc": True}
    config |= {"sam_mask_decoder_extra_args": FALLBACK, **(VERSION_2_1 if version == "2.1" else {})}
    return config


@pytest.fixture(scope="module", params=["2.0", "2.1"])
def sam2(request):
    """SAM-2's own model."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = randomize(instantiate(sam2_config(request.param)), scale=0.05)
        model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias.data += SCORE_SHIFT[request.param]
    model.version = request.param
    return model.eval()


@pytest.fixture(scope="module")
def glus(sam2):
    """A GLUS whose mask branch has its weights."""
    config = config_from_upstream(LANGUAGE, CLIP, {"model": sam2_config(sam2.version)}, seg_token_id=0)
    config.text_config.num_hidden_layers = 1
    model = GLUSModel(config).eval()
    meta = {f"model.visual_model.{name}": tensor for name, tensor in sam2.state_dict().items()}
    converted = convert_state_dict(meta, {})
    weights = {name.removeprefix("model.mask_model."): tensor for name, tensor in converted.items()}
    model.mask_model.load_state_dict(weights, strict=True)
    return model


@pytest.fixture(scope="module")
def pixels():
    return torch.randn(FRAMES, 3, IMAGE, IMAGE, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def backbone(sam2, pixels):
    """SAM-2's features of all frames: three levels and their positions, `[tokens, frames, dim]`, and their sizes."""
    with torch.no_grad():
        _, features, positions, sizes = sam2._prepare_backbone_features(sam2.forward_image(pixels))
    return features, positions, sizes


def as_map(tokens, size):
    return tokens.permute(1, 2, 0).unflatten(-1, size)


def assert_close(ours, reference, tolerance=TOLERANCE):
    assert ours.shape == reference.shape
    difference = (ours - reference).abs().max().item()
    print(f"max difference {difference:.1e} of {reference.abs().max().item():.1e}, limit {tolerance:.1e}")
    assert difference <= tolerance


def test_image_features(glus, pixels, backbone):
    with torch.no_grad():
        ours = glus.encode_mask_frames(pixels)
    features, positions, sizes = backbone
    for level in (0, 1):
        assert_close(ours.high_resolution[level], as_map(features[level], sizes[level]))
    assert_close(ours.embedding, features[2])
    assert_close(ours.position, positions[2])


def test_dense_positions(glus, sam2):
    assert_close(glus.dense_positions(), sam2.sam_prompt_encoder.get_dense_pe())


class Reference:
    """GLUS's schedule with SAM-2's own modules: prompts `[frames, n, dim]`, no pointers,
    no temporal code, conditioned features into the memory."""

    def __init__(self, sam2, backbone, stride):
        self.sam2, self.stride, self.memories = sam2, stride, []
        self.features, self.positions, self.sizes = backbone

    def decode_frame(self, frame, prompts):
        features = [level[:, [frame] * len(prompts)] for level in self.features]
        conditioned = self.attend(features[-1], self.positions[-1][:, [frame] * len(prompts)], frame)
        masks = self.decode(conditioned, [as_map(f, s) for f, s in zip(features[:2], self.sizes)], prompts)
        self.memories.append(self.remember(conditioned, masks))
        return masks[:, 0]

    def attend(self, features, positions, frame):
        wanted = [self.memories[index] for index in memory_indices(frame, 7, self.stride)]
        if wanted:
            memory, memory_positions = (torch.cat(parts) for parts in zip(*wanted))
            features = self.sam2.memory_attention(
                curr=[features], curr_pos=[positions], memory=memory, memory_pos=memory_positions, num_obj_ptr_tokens=0
            )
        else:
            features = features + self.sam2.no_mem_embed
        return as_map(features, self.sizes[-1])

    def decode(self, conditioned, high_resolution, prompts):
        encoder = self.sam2.sam_prompt_encoder
        return self.sam2.sam_mask_decoder(
            image_embeddings=conditioned,
            image_pe=encoder.get_dense_pe(),
            sparse_prompt_embeddings=prompts[:, None],
            dense_prompt_embeddings=encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand_as(conditioned),
            multimask_output=False,
            repeat_image=False,
            high_res_features=high_resolution,
        )[0]

    def remember(self, conditioned, masks):
        memory, positions = self.sam2._encode_new_memory(
            current_vision_feats=[conditioned.flatten(2).permute(2, 0, 1)],
            feat_sizes=self.sizes[-1:],
            pred_masks_high_res=F.interpolate(masks, (IMAGE, IMAGE), mode="bilinear", align_corners=False),
            object_score_logits=torch.ones(len(masks), 1),  # GLUS never asks whether the object is there
            is_mask_from_pts=False,
        )
        return memory.flatten(2).permute(2, 0, 1), positions[-1].flatten(2).permute(2, 0, 1)


@torch.no_grad()
@pytest.mark.parametrize("stride", [1, 3])
def test_memory_conditioned_frames_of_glus(glus, sam2, pixels, backbone, stride):
    """More frames than memories, two expressions; features, memories and masks of every frame."""
    prompts = torch.randn(FRAMES, 2, WIDTH, generator=torch.Generator().manual_seed(2))
    features, reference = glus.encode_mask_frames(pixels), Reference(sam2, backbone, stride)
    bank = MemoryBank(7, stride)
    for frame in range(FRAMES):
        ours = features.select(torch.tensor([frame, frame]))
        masks = glus.decode_frame(ours, prompts[frame], bank, frame, [True, True])
        assert_close(masks, reference.decode_frame(frame, prompts[frame]))
        for found, expected in zip(bank.entries[frame], reference.memories[frame]):
            assert_close(found, expected, TOLERANCE * expected.abs().max().item())


def track(sam2, backbone, point):
    """Masks and pointers of SAM-2's own tracking of a point on frame 0."""
    features, positions, sizes = backbone
    outputs = {"cond_frame_outputs": {}, "non_cond_frame_outputs": {}}
    masks = []
    for frame in range(FRAMES):
        output = sam2.track_step(
            frame_idx=frame,
            is_init_cond_frame=frame == 0,
            current_vision_feats=[level[:, [frame]] for level in features],
            current_vision_pos_embeds=[level[:, [frame]] for level in positions],
            feat_sizes=sizes,
            point_inputs=copy.deepcopy(point) if frame == 0 else None,
            mask_inputs=None,
            output_dict=outputs,
            num_frames=FRAMES,
        )
        # its predictor and transformers keep memories in bfloat16
        output["maskmem_features"] = output["maskmem_features"].bfloat16().float()
        outputs["non_cond_frame_outputs" if frame else "cond_frame_outputs"][frame] = output
        masks.append(output["pred_masks"])
    return masks


@torch.no_grad()
def test_tracking_of_sam2(glus, sam2, pixels, backbone):
    """Pointers and temporal codes, which GLUS does not use, are converted right as well."""
    coordinates, label = torch.tensor([[[40.0, 70.0]]]), torch.tensor([[1]], dtype=torch.int32)
    session = Sam2VideoInferenceSession(pixels, IMAGE, IMAGE, dtype=torch.float32)
    inputs = {"point_coords": coordinates[:, None], "point_labels": label[:, None]}
    session.add_point_inputs(session.obj_id_to_idx(1), 0, inputs)
    session.obj_with_new_inputs = [1]
    masks = track(sam2, backbone, {"point_coords": coordinates, "point_labels": label})
    assert [bool((mask == ABSENT).all()) for mask in masks] == [sam2.version == "2.1"] + [False] * (FRAMES - 1)
    for frame, expected in enumerate(masks):
        assert_close(glus.mask_model(session, frame).pred_masks, expected)
