"""Stages that are compiled: few graphs for all sizes, the same masks, and a model that stays as it was."""

import copy
import pickle
import shutil

import numpy as np
import pytest
import torch

from glus_hf import UserError, pipeline
from glus_hf.models.compiled_stages import compile_model, compiled
from glus_hf.models.prefix_cache import read_at, read_beginning
from tests.models.glus.small_glus import small_model, small_processor
from tests.models.glus_vlm.small_glus_vlm import small_model as small_vlm
from tests.models.glus_vlm.small_glus_vlm import small_processor as small_vlm_processor


FRAMES = list(np.random.default_rng(0).integers(0, 255, (19, 48, 64, 3), np.uint8))
TEXTS = ["the red circle", "the small blue square moving left", "the green cross"]


class CountedGraphs:
    """A backend that runs graphs as they are, and counts them."""

    def __init__(self):
        self.count = 0

    def __call__(self, graph, inputs):
        self.count += 1
        return graph.forward


@pytest.fixture
def graphs():
    torch._dynamo.reset()
    yield CountedGraphs()
    torch._dynamo.reset()
    compiled.cache_clear()


def masks_of(model, processor, frames, texts, **kwargs):
    session = processor.init_video_session(frames, texts)
    with torch.no_grad():
        return torch.stack([each.mask_logits for each in model.propagate_in_video_iterator(session, **kwargs)])


def difference(found, expected):
    """Of logits, as a share of their range."""
    return ((found - expected).abs().max() / (expected.max() - expected.min())).item()


def test_windows_of_all_sizes_make_one_graph(graphs):
    model = small_model()
    states = torch.randn(3, 9, 32)
    with torch.no_grad():
        prefix = read_beginning(model.model.language_model, torch.randn(1, 7, 32))
        model.compile_stages(backend=graphs)
        for count, length in [(2, 5), (3, 9), (2, 6)]:
            places = torch.tensor([[length - 1], [1], [2]])[:count]
            read = [states[:count, :length].clone(), places, prefix]
            found, expected = (
                model._read_at(*read),
                read_at(model.model.language_model, states[:count, :length].clone(), *read[1:]),
            )
            for each, same in zip(found, expected, strict=True):
                assert difference(each, same) < 1e-6
    assert graphs.count == 1


def test_a_copy_has_its_own_weights_and_the_same_choice():
    model = small_model()
    model.compile_stages()
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.model.stage_compiler == ("inductor", None)
        assert twin.lm_head.weight is not model.lm_head.weight
    assert not any("stage" in name for name in model.state_dict())


def test_training_is_not_compiled(graphs):
    model = small_model()
    model.compile_stages(backend=graphs)
    pixels = torch.zeros(1, 3, 32, 32)
    assert model.model.encode_frames(pixels).requires_grad and graphs.count == 0


def test_the_pipeline_compiles_when_asked():
    pipe = pipeline(model=small_model(), processor=small_processor(), device="cpu", compile=True)
    assert pipe.model.model.stage_compiler == ("inductor", None)
    assert pipeline(model=small_model(), processor=small_processor(), device="cpu").model.model.stage_compiler is None


def test_what_cannot_be_compiled_is_told():
    with pytest.raises(UserError, match="^a Linear model has no stages to compile; leave compile out$"):
        compile_model(torch.nn.Linear(1, 1))
    with pytest.raises(UserError, match="^mode='reduce-overhead' cannot compile stages; use None, default, max-"):
        small_model().compile_stages(mode="reduce-overhead")


@pytest.mark.slow
def test_a_run_makes_seven_graphs_and_the_next_none(graphs):
    model, processor = small_model(), small_processor()
    for texts, made in [(TEXTS[:1], 7), (TEXTS[:2], 12), (TEXTS, 12), (TEXTS[2:], 12)]:
        model.compile_stages(False)
        expected = masks_of(model, processor, FRAMES, texts)
        model.compile_stages(backend=graphs)
        assert difference(masks_of(model, processor, FRAMES, texts), expected) < 1e-6
        assert graphs.count == made
    smaller = [frame[:32] for frame in FRAMES[:11]]
    masks_of(model, processor, smaller, TEXTS, key_frame=4)
    assert graphs.count == 12


@pytest.mark.slow
def test_several_expressions_alone_make_seven_graphs(graphs):
    model, processor = small_model(), small_processor()
    expected = masks_of(model, processor, FRAMES, TEXTS, window="whole")
    model.compile_stages(backend=graphs)
    assert difference(masks_of(model, processor, FRAMES, TEXTS, window="whole"), expected) < 1e-6
    assert graphs.count <= 7


@pytest.mark.slow
def test_frames_that_come_one_by_one_make_six_graphs(graphs):
    def pushed():
        session = processor.init_live_session(TEXTS[0])
        return torch.stack([model.push_frame(session, frame).mask_logits for frame in FRAMES])

    model, processor = small_model(), small_processor()
    expected = pushed()
    model.compile_stages(backend=graphs)
    assert difference(pushed(), expected) < 1e-6
    assert graphs.count == 6


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the compiler of PyTorch for CPUs needs g++")
def test_masks_of_inductor_are_equal():
    model, processor = small_model(), small_processor()
    expected = masks_of(model, processor, FRAMES, TEXTS[:1])
    model.compile_stages()
    assert difference(masks_of(model, processor, FRAMES, TEXTS[:1]), expected) < 2e-6


def test_the_mask_branch_of_another_family_is_compiled(graphs):
    """Of glus_vlm the vision-language model runs as it is."""
    vlm, processor = small_vlm(), small_vlm_processor()
    expected = masks_of(vlm, processor, FRAMES[:6], TEXTS[:1])
    vlm.compile_stages(backend=graphs)
    assert difference(masks_of(vlm, processor, FRAMES[:6], TEXTS[:1]), expected) < 1e-6
    assert 0 < graphs.count <= 4
