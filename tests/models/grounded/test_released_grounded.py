"""The parts as the Hub has them become one checkpoint, which loads by its alias and through the pipeline."""

import json
import subprocess

import pytest
import torch

from glus_hf import (
    CheckpointError,
    GroundedForVideoSegmentation,
    GroundedProcessor,
    UserError,
    pipeline,
    resolve_checkpoint,
)
from glus_hf.conversion.converted_cache import CACHE_VARIABLE
from glus_hf.models.grounded import released_grounded
from glus_hf.models.grounded.join_grounded import join_checkpoints
from tests.models.grounded.small_grounded import DETECTORS, image_processor, noise, parts, small_processor, tokenizer
from tests.warm_python import warm_python


KINDS = [pytest.param(name, marks=[pytest.mark.slow] * (at > 0)) for at, name in enumerate(DETECTORS)]


@pytest.fixture(scope="module", params=KINDS)
def folders(request, tmp_path_factory):
    """Both repositories, as transformers writes them."""
    root = tmp_path_factory.mktemp(request.param)
    detector, masks = parts(request.param)
    detector.save_pretrained(root / "detector")
    image_processor().save_pretrained(root / "detector")
    tokenizer().save_pretrained(root / "detector")
    masks.save_pretrained(root / "masks")
    fields = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}
    (root / "masks" / "preprocessor_config.json").write_text(json.dumps(fields))
    preprocessor = root / "detector" / "preprocessor_config.json"  # the released file names the class with torchvision
    if preprocessor.is_file():
        preprocessor.write_text(preprocessor.read_text().replace("ProcessorPil", "Processor"))
    join_checkpoints(root / "detector", root / "masks", root / "pair", no_target_threshold=None)
    return root


def test_the_pair_has_every_weight_of_its_parts(folders):
    model = GroundedForVideoSegmentation.from_pretrained(folders / "pair")
    detector, masks = parts(model.config.detector_config.model_type)
    for part, original in ((model.detector, detector), (model.mask_model, masks)):
        expected, found = original.state_dict(), part.state_dict()
        assert expected.keys() == found.keys() and all(torch.equal(expected[key], found[key]) for key in expected)
    buffers = zip(masks.named_buffers(), model.mask_model.named_buffers(), strict=True)
    assert all(torch.equal(old[1], new[1]) for old, new in buffers)


def test_saved_and_loaded_again(folders, tmp_path):
    GroundedForVideoSegmentation.from_pretrained(folders / "pair").save_pretrained(tmp_path)
    GroundedProcessor.from_pretrained(folders / "pair").save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["model_type"] == "grounded" and config["mask_config"]["model_type"] == "sam2_video"
    assert GroundedProcessor.from_pretrained(tmp_path).mask_image_mean == [0.5, 0.4, 0.3]
    results = [
        pipeline(model=str(folder), device="cpu")(noise(4), "the dog") for folder in (folders / "pair", tmp_path)
    ]
    assert (results[0]["masks"] == results[1]["masks"]).all() and results[0]["masks"].shape == (4, 48, 64)
    assert results[0]["scores"].max() > 0


def test_the_alias_puts_the_pair_together_once(folders, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    asked = []

    def downloaded(repo, patterns, remedy, revision=None):
        asked.append(repo)
        return folders / ("masks" if repo.startswith("facebook/") else "detector")

    monkeypatch.setattr("glus_hf.conversion.download.download_folder", downloaded)
    folder = resolve_checkpoint("grounded-tiny")
    assert folder == resolve_checkpoint("grounded-tiny") == str(tmp_path / "grounded-tiny")
    assert asked == ["IDEA-Research/grounding-dino-tiny", "facebook/sam2.1-hiera-tiny"]
    assert type(pipeline(model="grounded-tiny", device="cpu").model) is GroundedForVideoSegmentation
    with pytest.raises(CheckpointError, match="has no revision"):
        released_grounded.fetch_released("grounded-tiny", "v2")


def test_wrong_parts_are_refused(folders, tmp_path):
    with pytest.raises(CheckpointError, match="no detector"):
        join_checkpoints(folders / "masks", folders / "masks", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_expressions_are_one_phrase():
    processor = small_processor()
    assert processor.clean_expression("The red car. The dog? ") == "the red car the dog"
    assert processor.tokenizer.decode(processor.tokenize("the dog")["input_ids"][0]) == "[CLS] the dog. [SEP]"
    with pytest.raises(UserError, match="empty"):
        processor.clean_expression(" . ")


def test_no_torchvision_is_imported():
    code = "import sys, glus_hf; glus_hf.GroundedProcessor; glus_hf.GroundedForVideoSegmentation; print(*sys.modules)"
    names = subprocess.run([*warm_python(), "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not any(name.split(".")[0] == "torchvision" for name in names)
