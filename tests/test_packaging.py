"""What is declared for the package agrees with what is there."""

import configparser
import os
import re
import subprocess
import sys

import pytest

from tests.paths import ROOT


DATA = (".yaml", ".json", ".safetensors", ".typed", ".css", ".js")


def setup_cfg() -> configparser.ConfigParser:
    """Parsed: a source distribution holds it with other white space."""
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg")
    return declared


def test_every_folder_of_code_is_a_package():
    # a folder without __init__.py works from a checkout but is missing from the wheel
    folders = {file.parent for file in (ROOT / "src" / "glus_hf").rglob("*.py")}
    missing = sorted(str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists())
    assert not missing, f"__init__.py is missing from {missing}"


def test_git_ignores_no_code():
    # a folder named like one of results would be missing from every clone
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    ignored = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "--", "src/*.py", "tests/*.py"]
    assert subprocess.run(ignored, cwd=ROOT, capture_output=True, text=True, check=True).stdout == ""


def test_the_recipes_and_checkpoints_are_in_the_wheel():
    declared = setup_cfg()["options.package_data"]["glus_hf"]
    package = ROOT / "src" / "glus_hf"
    found = {file for pattern in declared.split() for file in package.glob(pattern) if file.is_file()}
    data = {file for file in package.rglob("*") if file.suffix in DATA}
    assert data <= found and package / "training" / "recipes" / "tiny.yaml" in found


def test_constraints_pin_every_dependency():
    requirements = setup_cfg()["options"]["install_requires"].split()
    names = {re.split(r"[>=<]", requirement)[0] for requirement in requirements}
    for file in ("constraints.txt", "constraints-oldest.txt"):
        pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / file).read_text(), re.MULTILINE))
        assert names <= pinned, f"{file} does not pin {sorted(names - pinned)}"


def test_the_oldest_constraints_are_the_lower_bounds():
    required = "\n".join([setup_cfg()["options"]["install_requires"], *extras().values()])
    bounds = dict(re.findall(r"^([a-z0-9-]+)>=([0-9.]+)$", required, re.MULTILINE))
    assert "torch" in bounds
    oldest = dict(
        re.findall(r"^([a-z0-9-]+)==([0-9.]+)$", (ROOT / "constraints-oldest.txt").read_text(), re.MULTILINE)
    )
    for name, version in oldest.items():
        if name in bounds:
            # the bound 4.0 and the pin 4.0.1 agree, 4.0 and 4.1.0 do not
            assert f"{version}.".startswith(f"{bounds[name]}."), f"{name}: bound {bounds[name]}, pin {version}"


def extras() -> dict[str, str]:
    """Extras of the package and what they require."""
    return dict(setup_cfg()["options.extras_require"])


def test_every_extra_for_users_has_code_behind_it():
    code = "".join(file.read_text() for file in (ROOT / "src" / "glus_hf").rglob("*.py"))
    for extra, required in extras().items():
        names = [re.split(r"[>=<\[]", name)[0].replace("python-m", "python_m") for name in required.split()]
        is_tool = extra in ("test", "dev", "docs", "fuzz", "browser")  # not for users
        assert is_tool or all(name in code for name in names), extra


def constraints_of(extra: str) -> str:
    """Those of all extras, but for the page those of gradio, which takes an older pillow; as in `.ci/run`."""
    common, web = ((ROOT / name).read_text() for name in ("constraints.txt", "constraints-web.txt"))
    if extra not in ("web", "browser"):
        return common
    replaced = set(re.findall(r"^([a-z0-9-]+)==", web, re.MULTILINE))
    return "".join(line for line in common.splitlines(True) if line.partition("==")[0] not in replaced) + web


@pytest.mark.slow
@pytest.mark.parametrize("extra", extras())
def test_every_extra_resolves_under_the_constraints(extra, tmp_path):
    pip = [sys.executable, "-m", "pip"]
    plain = {**os.environ, "PIP_CONFIG_FILE": os.devnull}  # a machine may have constraints of its own
    if subprocess.run([*pip, "index", "versions", "setuptools"], capture_output=True, env=plain).returncode:
        pytest.skip("no package index can be reached")
    constraints = tmp_path / "constraints.txt"
    constraints.write_text(constraints_of(extra))
    resolve = [*pip, "install", "--dry-run", "-c", str(constraints), "-e", f".[{extra}]"]
    done = subprocess.run(resolve, cwd=ROOT, capture_output=True, text=True, env=plain)
    assert done.returncode == 0, done.stderr


def test_packaged_checkpoints_are_small_and_described():
    folders = [folder for folder in (ROOT / "src" / "glus_hf" / "checkpoints").iterdir() if folder.is_dir()]
    assert {folder.name for folder in folders} == {"glus-tiny", "glus-selector-tiny", "glee-tiny"}
    for folder in folders:
        assert sum(file.stat().st_size for file in folder.iterdir()) < 25e6
        assert (folder / "README.md").is_file() and not list(folder.glob("*.bin"))
