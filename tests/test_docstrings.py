"""The examples in docstrings run and print what they say."""

import doctest
import importlib
import importlib.util
import pkgutil

import numpy as np
import pytest
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import glus_hf
from glus_hf import GLUSImageProcessor, GLUSProcessor, GLUSSelectorProcessor
from glus_hf.training.word_tokenizer import build_word_tokenizer


# the tests of the page run where its extra is installed
OF_EXTRAS = {f"glus_hf.webapp.{name}": "gradio" for name in ("page", "page_jobs", "correction_panel")}
MODULES = [
    module.name
    for module in pkgutil.walk_packages(glus_hf.__path__, "glus_hf.")
    if "datasets_scripts" not in module.name
    and (module.name not in OF_EXTRAS or importlib.util.find_spec(OF_EXTRAS[module.name]))
]


def names_in_examples(module):
    """What the examples take as given; the selector's have a processor of their own."""
    tokenizer = build_word_tokenizer(["the cat", "red square"])
    processor = GLUSProcessor(GLUSImageProcessor(), tokenizer)
    if ".glus_selector." in module:
        tokenizer.add_tokens(["[SCORE]"])
        processor = GLUSSelectorProcessor(CLIPImageProcessorPil(), tokenizer)
    return {
        "np": np,
        "build_word_tokenizer": build_word_tokenizer,
        "processor": processor,
        "frames": [np.zeros((32, 32, 3), dtype=np.uint8)] * 10,
    }


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    module = importlib.import_module(name)
    given = {key: value for key, value in names_in_examples(name).items() if key not in vars(module)}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    assert doctest.testmod(module, extraglobs=given, optionflags=flags).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) > 25
