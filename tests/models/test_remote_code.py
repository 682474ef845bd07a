"""Which files a model needs, and how they lie flat beside its weights."""

import ast
import re
import sys
from pathlib import Path

import pytest

from glus_hf import GLUSForVideoSegmentation, GLUSProcessor, GLUSSelector, GLUSSelectorProcessor
from glus_hf.models.remote_code import class_reference, needed_files, save_code
from tests.import_graph import find_imports, find_modules
from tests.paths import ROOT


PACKAGE = ROOT / "src" / "glus_hf"
SMALL = {  # a package whose model needs a file of its own, a shared one, and what that needs
    "models/tiny/modeling_tiny.py": "from ...media.images import view\nfrom ..sessions import Session\n"
    "from .parts_tiny import (\n    Head,\n)\nclass Tiny: ...\n",
    "models/tiny/parts_tiny.py": "import torch\nfrom .modeling_tiny import Tiny\n",
    "models/tiny/unused_tiny.py": "",
    "models/sessions.py": "def later():\n    from ..errors import UserError\n    return UserError\n",
    "media/images.py": "from ..errors import UserError\n",
    "errors.py": "class UserError(ValueError): ...\n",
}
FLAT = {
    "modeling_tiny.py": "from .images import view\nfrom .sessions import Session\n"
    "from .parts_tiny import (\n    Head,\n)\nclass Tiny: ...\n",
    "parts_tiny.py": "import torch\nfrom .modeling_tiny import Tiny\n",
    "sessions.py": "def later():\n    from .errors import UserError\n    return UserError\n",
    "images.py": "from .errors import UserError\n",
    "errors.py": "class UserError(ValueError): ...\n",
}


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The class of the small package; its module is known to Python, but is not run."""
    for name, code in SMALL.items():
        file = tmp_path / "package" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    module = type(sys)("package.models.tiny.modeling_tiny")
    module.__file__ = str(tmp_path / "package" / "models" / "tiny" / "modeling_tiny.py")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return type("Tiny", (), {"__module__": module.__name__})


def test_needed_files_are_found_directly_and_around(tiny):
    file = Path(sys.modules[tiny.__module__].__file__)
    assert sorted(path.name for path in needed_files(file)) == sorted(FLAT)
    assert needed_files(file)[0] == file


def test_files_are_written_flat_with_their_imports(tiny, tmp_path):
    (tmp_path / "saved").mkdir()
    written = save_code(tiny, tmp_path / "saved")
    assert {path.name: path.read_text() for path in (tmp_path / "saved").iterdir()} == FLAT
    assert sorted(written) == sorted((tmp_path / "saved").iterdir())


def test_two_files_of_one_name_cannot_be_saved(tiny, tmp_path):
    model = Path(sys.modules[tiny.__module__].__file__)
    model.with_name("errors.py").touch()
    model.write_text("from .errors import Wrong\nfrom ...errors import UserError\n")
    with pytest.raises(ValueError, match="files of one name"):
        save_code(tiny, tmp_path)
    assert not list(tmp_path.glob("*.py"))


def test_a_class_is_named_by_its_file():
    assert class_reference(GLUSForVideoSegmentation) == "modeling_glus.GLUSForVideoSegmentation"


@pytest.mark.parametrize("kind", [GLUSForVideoSegmentation, GLUSProcessor, GLUSSelector, GLUSSelectorProcessor])
def test_no_file_is_left_behind(kind):
    """Every import that Python sees in a copied file is of a copied file; the pattern overlooks none."""
    files, modules = set(needed_files(Path(sys.modules[kind.__module__].__file__))), find_modules(PACKAGE)
    imported = {modules[found.target] for found in find_imports(PACKAGE) if found.file in files}
    assert len(imported) > 5 and imported <= files


def test_every_auto_class_is_told_whether_code_may_run():
    """Without `trust_remote_code` it asks on the terminal, and runs code of the checkpoint on "y"."""
    calls = []
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and re.fullmatch(r"Auto[A-Z]\w*\.from_pretrained", ast.unparse(node.func)):
                calls.append((f"{file.name}:{node.lineno}", {keyword.arg for keyword in node.keywords}))
    ours = {"factory.py"}  # AutoModelForReferringVideoSegmentation says it itself
    silent = [place for place, keywords in calls if "trust_remote_code" not in keywords]
    assert len(calls) >= 10
    assert [place for place in silent if place.partition(":")[0] not in ours] == []
    assert len(silent) == 1
