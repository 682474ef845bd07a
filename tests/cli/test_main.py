"""The command line as a whole."""

import subprocess
import sys

from tests.cli.command import run


def test_help_is_light(tmp_path):
    code = "import sys, glus_hf.cli.main; assert not {'torch', 'av', 'cv2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    code, out, _ = run(tmp_path, "--help")
    assert code == 0 and all(command in out for command in ("segment", "demo", "train", "info"))
