"""What the tests of the evaluator share: rows of the miniature datasets, and trees as bytes."""

from pathlib import Path

from glus_hf import load_referring_dataset
from tests.paths import FIXTURES


DATASETS = FIXTURES / "datasets"
SETS = {  # name, folder, split
    "mevis": ("mevis", "mevis", "valid_u"),
    "mevis-v2": ("mevis", "mevis_v2", "valid_u"),
    "mevis-valid": ("mevis", "mevis", "valid"),
    "refer_youtube_vos": ("refer_youtube_vos", "Refer-YouTube-VOS", "valid"),
    "ref_davis17": ("ref_davis17", "DAVIS17", "valid"),
    "revos": ("revos", "ReVOS", "valid"),
    "reasonvos": ("reasonvos", "ReasonVOS", "test"),
    "long_rvos": ("long_rvos", "long_rvos", "valid"),
}


def load_rows(key, cache_dir):
    name, folder, split = SETS[key]
    return load_referring_dataset(name, DATASETS / folder, split, cache_dir=cache_dir)


def shape_rows(cache_dir, num_videos=3, num_frames=5, **options):
    """Generated videos with several expressions each."""
    options = {"size": 48, "num_frames": num_frames, "num_videos": num_videos, **options}
    return load_referring_dataset("motion_shapes", split="test", cache_dir=cache_dir, **options)


def tree(root):
    """All files of an evaluation that must not differ from run to run: relative path -> bytes."""
    files = {str(path.relative_to(root)): path for path in Path(root).rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(".glus_hf/")}
