"""Damaged checkpoints: each loads as before or is refused in one line; nothing of it runs, nothing explodes."""

import os
import shutil

import numpy as np
import pytest

import glus_hf
from glus_hf.errors import UserError
from tests.models.checkpoint_mutations import (
    INDEX,
    WEIGHTS,
    adapter_mutations,
    all_mutations,
    config_mutations,
    file_mutations,
    index_mutations,
    pickle_mutations,
    tokenizer_mutations,
    weight_mutations,
)
from tests.models.glus.small_glus import small_model, small_processor


FRAMES = [np.full((24, 32, 3), 40 * index, np.uint8) for index in range(2)]
FILES = {
    **file_mutations("config.json"),
    **file_mutations("processor_config.json"),
    **file_mutations("tokenizer.json"),
    **file_mutations("tokenizer_config.json"),
}
QUICK = (
    FILES
    | weight_mutations()
    | index_mutations()
    | pickle_mutations()
    | tokenizer_mutations()
    | config_mutations()
    | adapter_mutations()
)
HARMLESS = {  # what nothing reads, or libraries and we read alike
    f"{INDEX}: right",
    f"{INDEX}: one name missing",
    f"{INDEX}: one name too many",
    f"{WEIGHTS}: header: format tf",
    f"{WEIGHTS}: header: format pickle",
    f"{WEIGHTS}: values: largest everywhere",
    "tokenizer_config.json: missing",
    "generation_config.json: wrong types",
}
LONGEST = 1000  # letters of a message


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The smallest GLUS with its processor."""
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    model = small_model()
    model.lm_head.bias = None  # small_model adds one; a saved GLUS has none
    model.save_pretrained(folder)
    small_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "small")


def segment(folder):
    return glus_hf.pipeline(model=str(folder), device="cpu")(FRAMES, "the red circle")


def outcome(folder) -> str:
    """ "loads", or the message of a refusal."""
    try:
        result = segment(folder)
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < LONGEST
        return str(error)
    assert np.isfinite(result["scores"]).all()
    return "loads"


def every_third(names) -> list:
    """The others are slow: each takes a second."""
    return [pytest.param(name, marks=[pytest.mark.slow] if at % 3 else []) for at, name in enumerate(sorted(names))]


@pytest.mark.parametrize("name", every_third(QUICK))
def test_damage_is_harmless_or_refused_in_one_line(folder, name, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on the terminal"))
    QUICK[name](folder)
    found = outcome(folder)
    assert not (folder / "ran-code").exists()
    assert found != "loads" or name in HARMLESS or name.startswith(("config.json: ", "tokenizer"))


def test_shards_elsewhere_are_refused(folder):
    index_mutations()[f"{INDEX}: path upwards"](folder)
    with pytest.raises(UserError, match="names files outside its folder .*do not trust this checkpoint"):
        glus_hf.GLUSForVideoSegmentation.from_pretrained(folder)


def test_a_config_larger_than_its_weights_is_refused_before_memory_is_taken(folder):
    config = glus_hf.GLUSConfig.from_pretrained(folder)
    config.text_config.vocab_size = 10**7
    config.text_config.hidden_size = 2**16  # 2.6 TB
    config.save_pretrained(folder)
    with pytest.raises(UserError, match="the weights do not fit the model"):
        glus_hf.GLUSForVideoSegmentation.from_pretrained(folder)


def test_weights_of_whole_numbers_are_named(folder):
    weight_mutations()[f"{WEIGHTS}: header: integer dtype"](folder)
    with pytest.raises(UserError, match="1 of whole numbers"):
        glus_hf.GLUSForVideoSegmentation.from_pretrained(folder)


@pytest.mark.parametrize("label", ["one nan", "one infinite"])
def test_weights_that_are_no_numbers_are_refused(folder, label):
    weight_mutations()[f"{WEIGHTS}: values: {label}"](folder)
    with pytest.raises(UserError, match="1 weights have values that are NaN or infinite"):
        glus_hf.GLUSForVideoSegmentation.from_pretrained(folder)


PARTS, RUN = 100, 20  # a fifth of about 6,200 mutations, so that it ends in half an hour


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(RUN))
def test_every_field_times_every_value(saved, tmp_path, part):
    mutations = all_mutations(saved)
    found = {}
    for name in sorted(mutations)[part::PARTS]:
        folder = shutil.copytree(saved, tmp_path / "small")
        mutations[name](folder)
        found[name] = outcome_in_fork(folder)
        shutil.rmtree(folder)
    assert {name: text for name, text in found.items() if text not in ("loads", "refused")} == {}


def outcome_in_fork(folder, seconds: int = 60) -> str:
    """ "loads", "refused", or what went wrong, of a process of its own that has a limit of CPU time."""
    import resource

    import peft  # noqa: F401 (once, not in every process)

    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        try:
            text = "loads" if outcome(folder) == "loads" else "refused"
        except BaseException as error:
            text = repr(error)[:200]
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        text = pipe.read().decode()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return text or f"ended without an answer: {code}"  # -24 is the limit of CPU time
