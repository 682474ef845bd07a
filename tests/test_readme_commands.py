"""The command that the README promises is the command that the checks run."""

from pathlib import Path


ROOT = Path(__file__).parent.parent


def test_install_and_test_command_of_the_readme_is_the_one_that_is_checked():
    lines = [line.strip() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    commands = [line for line in lines if line.startswith("pip install")]
    assert len(commands) == 1
    assert commands[0] in (ROOT / "README.md").read_text()
