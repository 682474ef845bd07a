"""Every family through one reader: prompts behind a cached beginning are as whole prompts read at once."""

import pytest
import torch

from glus_hf import UserError
from glus_hf.models.vision_language_families import VISION_LANGUAGE_FAMILIES, family_of
from glus_hf.models.vision_language_reader import VisionLanguageReader
from tests.models.tiny_vlms import IMAGE, image_processor, noise, tiny_vlm


PREFIX = [1, 7, 8, IMAGE, 9, 10, IMAGE, 11]
WINDOWS = [[IMAGE, 20, 21, 22, IMAGE, 23, 24], [IMAGE, 30, 31], [IMAGE, 40, IMAGE, 41, IMAGE, 42]]


def pixels_of(family, count):
    """Of the image processor of the family; LFM2-VL has none without torchvision."""
    if family != "lfm2_vl":
        return VISION_LANGUAGE_FAMILIES[family].pixels(image_processor(family), noise(count), 16)
    generator = torch.Generator().manual_seed(0)
    shapes, mask = torch.tensor([[4, 6]] * count), torch.zeros(count, 64, dtype=torch.long)
    mask[:, :24] = 1
    return {
        "pixel_values": torch.randn(count, 64, 3 * 16 * 16, generator=generator),
        "spatial_shapes": shapes,
        "pixel_attention_mask": mask,
    }


@pytest.mark.parametrize("family", VISION_LANGUAGE_FAMILIES)
def test_cached_reading_is_as_naive_reading(family):
    """Naive: the public forward on prefix and window with the pixels themselves, no cache, one window at a time."""
    model = tiny_vlm(family)
    reader, pixels = VisionLanguageReader(model), pixels_of(family, 8)
    with torch.no_grad():
        frames = reader.encode_frames(pixels)
    assert len(frames) == 8
    windows, at = [], 2
    for ids in WINDOWS:
        windows.append(list(range(at, at + ids.count(IMAGE))))
        at += ids.count(IMAGE)
    prefix = reader.read_prefix(PREFIX, frames[:2])
    places = [[len(ids) - 2, len(ids) - 1] for ids in WINDOWS]
    read = lambda: reader.read_windows(prefix, WINDOWS, [[frames[i] for i in each] for each in windows], places)
    found = read()
    torch.testing.assert_close(read(), found, atol=1e-6, rtol=0)  # the prefix is as it was
    for row, (ids, own) in enumerate(zip(WINDOWS, windows, strict=True)):
        whole = reader.expand(PREFIX + ids, [frames[i] for i in [0, 1, *own]])
        expected = naive_states(model, whole, as_one_sample(family, select(pixels, [0, 1, *own])))
        at = [len(whole) - 2, len(whole) - 1]
        torch.testing.assert_close(found[row], expected[0, at], atol=2e-6, rtol=0)


@torch.no_grad()
def naive_states(model, ids, pixels):
    row = torch.tensor([ids])
    marks = (row == IMAGE).long()
    if model.config.model_type == "gemma3":
        pixels = {**pixels, "token_type_ids": marks}
    if hasattr(model.model, "get_rope_index"):
        pixels = {**pixels, "mm_token_type_ids": marks.int()}
    return model.model(input_ids=row, attention_mask=torch.ones_like(row), use_cache=False, **pixels).last_hidden_state


def select(pixels, frames):
    """The pixels of some frames, as `get_image_features` takes them."""
    if "image_grid_thw" in pixels:
        parts = pixels["pixel_values"].split(pixels["image_grid_thw"].prod(1).tolist())
        grids = pixels["image_grid_thw"][frames]
        return {"pixel_values": torch.cat([parts[i] for i in frames]), "image_grid_thw": grids}
    chosen = {name: values[frames] for name, values in pixels.items() if name != "batch_num_images"}
    return chosen | ({"batch_num_images": torch.tensor([len(frames)])} if "batch_num_images" in pixels else {})


def as_one_sample(family, pixels):
    """Idefics3 takes the images of a sample along the second dimension."""
    is_idefics = family in ("smolvlm", "idefics3")
    return pixels | ({"pixel_values": pixels["pixel_values"].transpose(0, 1)} if is_idefics else {})


@pytest.mark.parametrize("family", VISION_LANGUAGE_FAMILIES)
def test_what_windows_begin_with_may_be_read_once(family):
    """Two windows begin with one frame and two words, one with another frame; each is as read in one piece."""
    reader = VisionLanguageReader(tiny_vlm(family))
    with torch.no_grad():
        frames = reader.encode_frames(pixels_of(family, 5))
    prefix, lead = reader.read_prefix(PREFIX, frames[:2]), [IMAGE, 20, 21]
    rests, firsts = [[30, IMAGE, 31], [32, 33], [34, IMAGE, 35]], [0, 0, 1]
    others = [[frames[4]], [], [frames[3]]]
    leads = reader.read_leads(prefix, lead, frames[2:4])
    found = reader.read_windows(leads.select(firsts), rests, others, [[len(rest) - 1] for rest in rests])
    whole = [lead + rest for rest in rests]
    seen = [[frames[2 + first], *own] for first, own in zip(firsts, others, strict=True)]
    expected = reader.read_windows(prefix, whole, seen, [[len(ids) - 1] for ids in whole])
    torch.testing.assert_close(found, expected, atol=3e-6, rtol=0)


@pytest.mark.parametrize("family", VISION_LANGUAGE_FAMILIES)
def test_a_frame_alone_is_as_among_others(family):
    reader, pixels = VisionLanguageReader(tiny_vlm(family)), pixels_of(family, 3)
    with torch.no_grad():
        together = reader.encode_frames(pixels)
        (alone,) = reader.encode_frames(select(pixels, [1]))
    torch.testing.assert_close(alone.tokens, together[1].tokens, atol=1e-6, rtol=0)
    assert len(alone.deep) == len(together[1].deep) == (3 if family == "qwen3_vl" else 0)


@pytest.mark.parametrize("family", VISION_LANGUAGE_FAMILIES)
def test_states_of_a_padded_batch_with_gradients(family):
    model = tiny_vlm(family)
    reader, pixels = VisionLanguageReader(model), pixels_of(family, 3)
    frames = reader.encode_frames(pixels)
    rows = [reader.expand([1, IMAGE, 5, 6, 7], frames[:1]), reader.expand([1, IMAGE, 9, IMAGE, 5], frames[1:])]
    rows[0] += [0] * (len(rows[1]) - len(rows[0]))
    ids = torch.tensor(rows)
    mask = (ids != 0).long()
    states = reader.read_states(ids, mask, frames)
    alone = reader.read_states(ids[:1, : mask[0].sum()], mask[:1, : mask[0].sum()], frames[:1])
    torch.testing.assert_close(states[0, mask[0].sum() - 1], alone[0, -1], atol=2e-6, rtol=0)
    model.zero_grad()
    states[0, mask[0].sum() - 1].square().sum().backward()
    assert model.get_input_embeddings().weight.grad[5].abs().max() > 0
    reached = [name for name, weight in model.named_parameters() if weight.grad is not None]
    assert any("vision" in name or "visual" in name for name in reached)


def test_places_are_counted_in_prompts_with_one_id_per_image():
    reader = VisionLanguageReader(tiny_vlm("smolvlm"))
    frames = reader.encode_frames(pixels_of("smolvlm", 2))
    size = len(frames[0].tokens)
    assert reader.expanded_places([1, IMAGE, 5, IMAGE, 6], frames, [0, 2, 4]) == [0, size + 1, 2 * size + 2]
    with pytest.raises(ValueError, match="2 images but there are 1 frames"):
        reader.expand([IMAGE, IMAGE], frames[:1])


def test_an_unknown_family_is_refused_in_one_line():
    with pytest.raises(UserError, match="'clip' is no vision-language model that can be read here; use one of llava"):
        family_of("clip")
