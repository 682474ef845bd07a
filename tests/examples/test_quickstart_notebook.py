"""examples/quickstart.ipynb runs from its first cell to its last, and pushes to a Hub on 127.0.0.1."""

import json
import os

import pytest

from tests.paths import EXAMPLES, ROOT
from tests.writable_hub import TOKEN, WritableHub


NOTEBOOK = EXAMPLES / "quickstart.ipynb"


def test_it_is_without_outputs():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    kernelspec = pytest.importorskip("ipykernel.kernelspec")
    kernelspec.write_kernel_spec(tmp_path / "jupyter" / "kernels" / "python3")
    with WritableHub() as hub:
        settings = {"JUPYTER_PATH": tmp_path / "jupyter", "HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN}
        settings |= {"HF_HOME": tmp_path / "home", "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        settings |= {"TMPDIR": tmp_path, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
        for name, value in settings.items():
            monkeypatch.setenv(name, str(value))
        notebook = nbformat.read(NOTEBOOK, as_version=4)
        nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources={}).execute()
        assert set(hub.files("me/quickstart-glus")) >= {"README.md", "model.safetensors", "processor_config.json"}
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    text = "".join(output.get("text", "") for output in outputs)
    scores = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if "J&F" in line]
    assert len(scores) == 3 and max(scores) > 90
    assert f"{hub.url}/me/quickstart-glus" in text
