"""The house of glus_hf: no circles, no room that reaches up, no model family outside its own folder.

A room is a folder of `src/glus_hf`, or a file beside them. A file imports from its own room and from rooms below;
every family of models has a room of its own. Whoever needs a family looks its name up in `model_families.py`.
"""

from pathlib import Path

import pytest

from glus_hf.model_families import ALL_FAMILIES
from tests.import_graph import Import, Word, find_circles, find_imports, find_modules, find_words
from tests.paths import ROOT


PACKAGE = ROOT / "src" / "glus_hf"
GROUND = (
    "errors",
    "model_families",
    "atomic_write",
    "bounded_json",
    "control_characters",
    "output_claim",
    "safe_files",
    "hub",
    "hub_access",
    "rows",
    "json_text",
    "moved_modules",
)
FAMILY = "models/<family>"
LAYERS = (  # from the ground up
    "ground",
    "checkpoint_files",
    "media",
    "visualization",
    "conversion",
    "models",
    FAMILY,
    "publishing",
    "inference",
    "metrics",
    "predictions",
    "data",
    "evaluation",
    "reports",
    "training",
    "pipelines",
    "registration",
    "webapp",
    "cli",
    "top",  # glus_hf/__init__.py: the public names
)
KNOW_NO_FAMILY = ("conversion", "evaluation", "pipelines", "cli", "training/runs", "inference")


def room_of(module: str) -> str:
    """The room of a dotted name: "models/glus" of "glus_hf.models.glus.modeling_glus"."""
    _, *parts = module.split(".")
    if not parts:
        return "top"
    is_family = parts[0] == "models" and len(parts) > 1 and parts[1] in families()
    return "/".join(parts[:2]) if is_family else "ground" if parts[0] in GROUND else parts[0]


def layer_of(room: str) -> int:
    return LAYERS.index(FAMILY if "/" in room else room)


def families(root: Path = PACKAGE) -> set[str]:
    """Names of the folders in models/."""
    return {folder.parent.name for folder in root.glob("models/*/__init__.py")}


def breaks_layers(found: Import) -> bool:
    importer, target = room_of(found.importer), room_of(found.target)
    return importer not in (target, "top") and layer_of(importer) <= layer_of(target)


def family_names(root: Path = PACKAGE) -> set[str]:
    """Folders, model types, modules and public classes of the families; "GLUS" in a sentence is none."""
    modules = {file.stem for family in families(root) for file in (root / "models" / family).glob("[!_]*.py")}
    classes = {kind for names in ALL_FAMILIES.values() for kind in names.values() if isinstance(kind, str)}
    return families(root) | modules | classes | set(ALL_FAMILIES)


def names_of_families(folder: Path, imports: list[Import], names: set[str]) -> list[Import | Word]:
    """Where the files of a folder import a family, or name it in a string."""
    inside = [found for found in imports if found.file.is_relative_to(folder)]
    words = [word for file in sorted(folder.rglob("*.py")) for word in find_words(file)]
    return [found for found in inside if "/" in room_of(found.target)] + [word for word in words if word.text in names]


def listed(rule: str, offences: list) -> str:
    return "\n".join([f"{rule}:", *(f"  {offence}" for offence in offences)])


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return find_imports(PACKAGE)


def test_no_files_import_each_other(imports):
    circles = [found for circle in find_circles(imports) for found in circle]
    assert not circles, listed("these files import each other, directly or around; move what they share", circles)


def test_every_room_has_a_layer():
    rooms = {room_of(module) for module in find_modules(PACKAGE)}
    assert rooms - {f"models/{family}" for family in families()} == {*LAYERS} - {FAMILY}


def test_imports_go_down(imports):
    offences = [found for found in imports if breaks_layers(found)]
    assert not offences, listed(f"a file imports from its own room or below, from {' < '.join(LAYERS)}", offences)


def test_a_family_knows_no_other_family(imports):
    in_models = [found for found in imports if found.importer.startswith("glus_hf.models")]
    to_family = [found for found in in_models if "/" in room_of(found.target)]
    offences = [found for found in to_family if room_of(found.importer) != room_of(found.target)]
    assert not offences, listed("models of several families are shared through models/*.py alone", offences)


@pytest.mark.parametrize("room", KNOW_NO_FAMILY)
def test_shared_rooms_name_no_family(imports, room):
    offences = names_of_families(PACKAGE / room, imports, family_names())
    assert not offences, listed(f"{room}/ serves every family; look the name up in model_families.py", offences)


# --- the checks themselves, on a small house that breaks every rule -----------------------------------------------


SMALL_HOUSE = {
    "__init__": "from . import registration",
    "errors": "def late():\n    from glus_hf.media import video",  # reaches up, inside a function
    "media/__init__": "",
    "media/video": "from ..errors import UserError",
    "models/__init__": "",
    "models/auto": "from .. import __version__",
    "models/glus/__init__": "",
    "models/glus/modeling_glus": "from ..glus_selector.modeling_glus_selector import Head",
    "models/glus_selector/__init__": "",
    "models/glus_selector/modeling_glus_selector": "from ..auto import thing",
    "registration": "from .models import auto",
    "cli/__init__": "",
    "cli/main": '"""About glus."""\nx = Option("glus-tiny", help="of GLUS")\ny = f"models.glus.{x} or GLUSSelector"',
    "cli/info": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import glus_hf.models.glus.modeling_glus",
}


@pytest.fixture
def house(tmp_path) -> Path:
    for name, code in SMALL_HOUSE.items():
        file = tmp_path / "glus_hf" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(code)
    return tmp_path / "glus_hf"


def as_lines(offences, house: Path) -> list[str]:
    return [str(offence).removeprefix(f"{house}/") for offence in offences]


def test_a_circle_is_found(house):
    (circle,) = find_circles(find_imports(house))
    assert as_lines(circle, house) == [
        "errors.py:2 imports glus_hf.media.video",
        "media/video.py:1 imports glus_hf.errors",
    ]
    (house / "errors.py").write_text("from __future__ import annotations")
    assert find_circles(find_imports(house)) == []


def test_imports_that_go_up_or_across_are_found(house):
    assert as_lines(filter(breaks_layers, find_imports(house)), house) == [
        "errors.py:2 imports glus_hf.media.video",
        "models/glus/modeling_glus.py:1 imports glus_hf.models.glus_selector.modeling_glus_selector",
    ]
    (house / "models" / "auto.py").write_text("from . import glus\nfrom glus_hf import GLUSConfig")
    assert as_lines(filter(breaks_layers, find_imports(house)), house)[1:3] == [
        "models/auto.py:1 imports glus_hf.models.glus",
        "models/auto.py:2 imports glus_hf",
    ]


def test_named_families_are_found(house):
    assert as_lines(names_of_families(house / "cli", find_imports(house), family_names(house)), house) == [
        "cli/info.py:3 imports glus_hf.models.glus.modeling_glus",
        "cli/main.py:3 names 'glus' in a string",
        "cli/main.py:3 names 'GLUSSelector' in a string",
    ]
