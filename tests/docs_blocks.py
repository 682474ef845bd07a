"""The Python blocks of the documentation, and a folder with the data that they name."""

import re
import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path

from glus_hf.cli.demo import DEMO_FPS, demo_clip
from glus_hf.data.motion_shapes import generate_clip
from glus_hf.media.video import write_video
from tests.data.own.own_folders import write_frames, write_lines, write_masks
from tests.models.glee.small_glee import small_model, small_processor
from tests.paths import FIXTURES, ROOT


CONTINUES = "# continues the block above"
NEEDS_GPU = "# needs a GPU"
NEEDS_PACKAGE = re.compile(r"# needs the package (\w+)")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FENCE = re.compile(r"^( *)```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
DATASETS = ("mevis", "mevis_v2", "Refer-YouTube-VOS", "DAVIS17", "ReVOS", "ReasonVOS", "LVVIS", "long_rvos")


@dataclass(frozen=True)
class Block:
    """A block of a page, and the line that it begins on."""

    page: str
    line: int
    code: str

    @property
    def continues(self) -> bool:
        return self.code.lstrip().startswith(CONTINUES)

    def compiled(self):
        """With line numbers of the page, so that a traceback names them."""
        return compile("\n" * self.line + textwrap.dedent(self.code), str(ROOT / self.page), "exec")


def pages() -> list[str]:
    """README, all pages of the documentation and the model cards, relative to the repository."""
    folders = ("docs/**/*.md", "src/glus_hf/checkpoints/*/README.md", "datasets_scripts/*/README.md")
    return ["README.md", *(str(path.relative_to(ROOT)) for name in folders for path in sorted(ROOT.glob(name)))]


def blocks_of(page: str, text: str) -> list[Block]:
    return [Block(page, text[: match.start()].count("\n") + 1, match[2]) for match in FENCE.finditer(text)]


def chains_of(blocks: list[Block]) -> list[list[Block]]:
    """Each block with those that continue it."""
    chains = []
    for block in blocks:
        if block.continues:
            chains[-1].append(block)
        else:
            chains.append([block])
    return chains


def all_chains() -> list[list[Block]]:
    return [chain for page in pages() for chain in chains_of(blocks_of(page, (ROOT / page).read_text()))]


# --- the data -----------------------------------------------------------------------------------------------------


def make_data(folder: Path) -> None:
    """Everything that the blocks read: the demo's clip, `video.mp4`, own clips, miniature datasets, predictions, and
    `my-glee`, with random weights."""
    clip, _ = demo_clip(seed=0)
    write_video(folder / "glus_demo" / "video.mp4", clip.frames, DEMO_FPS)
    shutil.copy(folder / "glus_demo" / "video.mp4", folder / "video.mp4")
    for name in DATASETS:
        shutil.copytree(FIXTURES / "datasets" / name, folder / "data" / name)
    shutil.copytree(FIXTURES / "datasets" / "pred" / "mevis_valid_u", folder / "preds")
    for split in ("train", "valid"):
        write_own_clips(folder / "clips" / split, split)
    small_model().save_pretrained(folder / "my-glee")
    small_processor().save_pretrained(folder / "my-glee")


def write_own_clips(folder: Path, split: str, num_videos: int = 3, size: int = 64) -> None:
    """Clips of moving shapes in the layout of own data, one expression each."""
    lines = []
    for index in range(num_videos):
        clip = generate_clip(index, split="test" if split == "valid" else "train", seed=5, size=size, num_frames=8)
        expression, name = clip.expressions[0], f"clip{index}"
        write_frames(folder / "videos" / name, clip.frames)
        write_masks(folder / "masks" / name, clip.target_masks(expression))
        lines.append({"video": name, "expression": expression.text, "masks": f"masks/{name}"})
    write_lines(folder, lines)


def make_released(cache: Path) -> None:
    """A cache in which glus-7b is a miniature checkpoint, also at the commit that the docs name."""
    from glus_hf.models.glus.convert_glus_to_hf import convert_checkpoint

    source = FIXTURES / "upstream_tiny"
    convert_checkpoint(
        source / "checkpoint", source / "clip", cache / "glus-s", sam2_config=source / "sam2_config.yaml"
    )
    shutil.copytree(cache / "glus-s", cache / f"glus-s@{COMMIT}")
