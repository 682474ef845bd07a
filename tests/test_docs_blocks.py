"""Every Python block of README, docs and model cards runs as printed, on the data that its page names."""

import shutil

import pytest
import torch

from glus_hf.conversion.converted_cache import CACHE_VARIABLE
from tests.docs_blocks import NEEDS_GPU, NEEDS_PACKAGE, all_chains, blocks_of, chains_of, make_data, make_released


SLOW = ("trainer.train()",)  # minutes; run by `pytest -m slow`


def parameters():
    for chain in all_chains():
        slow = [pytest.mark.slow] if any(sign in block.code for block in chain for sign in SLOW) else []
        yield pytest.param(chain, id=f"{chain[0].page}:{chain[0].line}", marks=slow)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    pytest.importorskip("sentencepiece")
    folder = tmp_path_factory.mktemp("docs")
    make_data(folder)
    make_released(folder / "cache")
    return folder


@pytest.fixture
def data(made):
    """The data of all blocks; what a block adds is gone before the next, as pages use the same names of outputs."""
    given = set(made.iterdir())
    yield made
    for output in set(made.iterdir()) - given:
        shutil.rmtree(output) if output.is_dir() else output.unlink()


@pytest.mark.parametrize("chain", list(parameters()))
def test_blocks_run_as_printed(chain, data, monkeypatch, capsys):
    monkeypatch.chdir(data)
    monkeypatch.setenv(CACHE_VARIABLE, str(data / "cache"))
    names = {"__name__": "__main__"}
    for block in chain:
        if NEEDS_GPU in block.code and not torch.cuda.is_available():
            pytest.skip(f"{block.page}, line {block.line} needs a GPU")
        for package in NEEDS_PACKAGE.findall(block.code):
            pytest.importorskip(package)
        exec(block.compiled(), names)


def test_blocks_are_found_and_chained():
    text = "a\n```python\nx = 1\n```\nb\n```python\n# continues the block above\ny = x\n```\n```bash\nno\n```\n"
    text += "- item\n  ```python\n  z = 0\n  ```\n"
    (first, second), (third,) = chains_of(blocks_of("page.md", text))
    assert [first.line, second.line, third.line] == [2, 6, 14] and second.continues
    names = {}
    exec(first.compiled(), names)
    exec(second.compiled(), names)
    assert names["y"] == 1


def test_there_are_blocks():
    assert len(all_chains()) > 15
