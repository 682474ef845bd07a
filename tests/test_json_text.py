"""JSON for every reader: no NaN, no infinity, from any command."""

import ast
import json
import math
import re

import numpy as np
import pytest

from glus_hf.cli.output import print_json
from glus_hf.json_text import json_text
from tests.paths import ROOT


COMMANDS = sorted((ROOT / "src" / "glus_hf" / "cli").glob("*.py"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_a_number_that_is_not_finite_is_null(value, capsys):
    print_json({"J": value, "by_type": {"a": [1, 0.5, (value,)]}, "text": "NaN"})
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {"J": None, "by_type": {"a": [1, 0.5, [None]]}, "text": "NaN"}


def test_finite_numbers_stay_what_they_are():
    content = {"a": 0.1, "b": 10**30, "c": True, "d": None, "e": np.float64(1e-300), "f": -0.0}
    assert json_text(content) == json.dumps(content)


@pytest.mark.parametrize("file", COMMANDS, ids=lambda file: file.stem)
def test_every_command_prints_json_by_the_one_function(file):
    """A command with `--json` calls `print_json`; none writes JSON by itself, or by Python's writer."""
    source = file.read_text(encoding="utf-8")
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}
    assert not called & {"json.dumps", "json.dump", "dumps", "dump"}
    if re.search(r"as_json: Json\b", source):
        assert called & {"print_json", "report_folder"}  # the latter, of cli/convert.py, calls the former


def test_there_are_commands_with_json():
    assert sum("as_json: Json" in file.read_text(encoding="utf-8") for file in COMMANDS) >= 8
