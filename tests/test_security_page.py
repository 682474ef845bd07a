"""The limits in docs/security.md are those of the code."""

import dataclasses
import importlib
import importlib.util
import re

import pytest

from tests.paths import ROOT


ROW = re.compile(r"^\| (?P<what>[^|]+) \| (?P<default>[^|]+) \| `(?P<name>glus_hf\.[\w.]+)` \|$", re.MULTILINE)
UNITS = {"": 1, "MB": 10**6, "GB": 10**9, "million": 10**6, "hours": 3600}
ROWS = ROW.findall((ROOT / "docs" / "security.md").read_text(encoding="utf-8"))


def value_of(name):
    """The number behind a dotted name: a constant, a field's default, a size by kind, an upper bound."""
    module, _, rest = next(
        (parts for parts in splits(name) if importlib.util.find_spec(parts[0]) is not None), (None, None, None)
    )
    value = importlib.import_module(module)
    for part in rest.split("."):
        if dataclasses.is_dataclass(value):
            value = next(field.default for field in dataclasses.fields(value) if field.name == part)
        else:
            value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value[1] if isinstance(value, tuple) else value


def splits(name):
    """The name cut in two, the longest module first."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 1, -1):
        try:
            importlib.import_module(".".join(parts[:length]))
        except ImportError:
            continue
        yield ".".join(parts[:length]), ".", ".".join(parts[length:])


def test_the_table_has_every_kind_of_limit():
    assert len(ROWS) >= 20


@pytest.mark.parametrize("what, default, name", ROWS)
def test_a_limit_is_that_of_the_code(what, default, name):
    number, _, unit = default.partition(" ")
    assert int(number) * UNITS[unit] == value_of(name), what


def test_the_page_is_in_the_documentation_and_says_how_to_report():
    assert (
        "security.md" in (ROOT / "mkdocs.yml").read_text() and "docs/security.md" in (ROOT / "README.md").read_text()
    )
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text()
