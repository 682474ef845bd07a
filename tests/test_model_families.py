"""Every name in the tables of `model_families.py` is there."""

import pytest
from transformers import AutoConfig

import glus_hf
from glus_hf import hub, model_families
from glus_hf.model_families import ALL_FAMILIES, CONVERTERS, EXPORTERS, FAMILIES, HELPER_FAMILIES, RELEASED, RUNS


MODULES = {*CONVERTERS.values(), *EXPORTERS.values(), *RELEASED.values()}


def class_names(names):
    """Public names of the classes of a family; image processors have one per backend."""
    image_processors = names.get("image_processor", {})
    return [names["config"], names["model"], names["processor"], *image_processors.values()]


@pytest.mark.parametrize("model_type", ALL_FAMILIES)
def test_classes_of_a_family(model_type):
    for name in class_names(ALL_FAMILIES[model_type]):
        assert name in glus_hf.__all__ and getattr(glus_hf, name).__name__ == name
    config, model = (model_families.load_class(model_type, kind) for kind in ("config", "model"))
    assert config.model_type == model_type and model.config_class is config
    assert type(AutoConfig.for_model(model_type)) is config


def test_no_family_is_in_both_tables():
    assert not FAMILIES.keys() & HELPER_FAMILIES.keys()
    assert {**FAMILIES, **HELPER_FAMILIES} == ALL_FAMILIES


@pytest.mark.parametrize("model_type", FAMILIES)
def test_families_that_segment_keep_the_contract(model_type):
    model, processor = (model_families.load_class(model_type, kind) for kind in ("model", "processor"))
    assert callable(model.propagate_in_video_iterator)
    assert callable(processor.init_video_session) and callable(processor.post_process_masks)


def test_the_selector_scores_frames():
    assert callable(model_families.load_class(model_families.KEY_FRAME_SELECTOR, "model").score_frames)


@pytest.mark.parametrize("module", sorted(MODULES | {model_families.STARTING_WEIGHTS, model_families.FILE_CONVERTER}))
def test_modules_can_be_imported(module):
    assert model_families.load_module(module).__name__ == f"glus_hf.{module}"


def test_released_checkpoints_can_be_fetched():
    for alias, module in RELEASED.items():
        assert callable(model_families.load_module(module).fetch_released)
        assert hub.is_alias(alias) and alias not in hub.PACKAGED


@pytest.mark.parametrize("model_type", RUNS)
def test_runs_have_a_reader_and_a_builder(model_type):
    module, *functions = RUNS[model_type]
    assert model_type in ALL_FAMILIES and len(functions) == 2
    assert all(callable(getattr(model_families.load_module(module), function)) for function in functions)
