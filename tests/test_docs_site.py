"""The pages of the site are complete, and the commands for the paper's tables are ones that the program takes."""

import re
import shlex

import pytest
import yaml

import glus_hf
from glus_hf.data.dataset_schema import FEATURES
from glus_hf.data.objects.object_schema import OBJECT_FEATURES
from glus_hf.training.runs.train_from_file import recipe_file
from tests.paths import ROOT


DOCS = ROOT / "docs"
COMMAND = re.compile(r"glus-hf (?:train|evaluate|segment|convert|pseudo-label) [^`\n]*")


def commands(page):
    return [shlex.split(line, comments=True)[1:] for line in COMMAND.findall((DOCS / page).read_text())]


def navigation(node):
    if isinstance(node, str):
        return {node}
    return set().union(*map(navigation, node.values() if isinstance(node, dict) else node))


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    listed = navigation(yaml.safe_load(text)["nav"])
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    cards = {f"reference/{card.parent.name}.md" for card in ROOT.glob("src/glus_hf/checkpoints/*/README.md")}
    assert listed == pages | cards


def test_every_public_name_has_a_reference():
    pages = "\n".join(page.read_text() for page in DOCS.glob("reference/*.md"))
    exported = {f"glus_hf.{module}.{name}" for name, module in glus_hf._EXPORTS.items()}
    assert exported <= set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))


def test_the_row_schema_lists_the_columns():
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "reference" / "rows.md").read_text(), re.MULTILINE)
    assert rows == [*FEATURES, *OBJECT_FEATURES]


@pytest.mark.parametrize("page", ("reproduce.md", "real-footage.md"))
def test_options_of_the_commands_exist(page):
    import typer

    from glus_hf.cli.main import app

    program = typer.main.get_command(app)
    found = commands(page)
    assert found
    for name, *words in found:
        options = {option for parameter in program.commands[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, [name, *words]


def test_training_commands_fit_their_recipes():
    from glus_hf.training.glus_run_config import load_run_config
    from glus_hf.training.selector_run import load_selector_config

    found = [words for name, *words in commands("reproduce.md") if name == "train"]
    assert len(found) > 8
    for recipe, *overrides in found:
        load = load_selector_config if recipe.startswith("selector") else load_run_config
        assert load(recipe_file(recipe), overrides).data.root == "/data"
