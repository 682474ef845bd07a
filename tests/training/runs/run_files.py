"""Configuration files of small runs, for tests."""

from pathlib import Path

import yaml

from tests.paths import FIXTURES


TREES = FIXTURES / "datasets"
DATA = {"data": {"train": [{"name": "motion_shapes"}]}}


def small_run(base, tmp_path) -> list[str]:
    """Overrides that make a run small and keep all else."""
    return [
        f"model.pretrained={base}",
        f"data.root={TREES}",
        f"data.cache_dir={tmp_path / 'cache'}",
        f"training.output_dir={tmp_path / 'run'}",
        "training.total_train_batch_size=2",
        "training.per_device_train_batch_size=1",
        "training.max_steps=1",
        "training.eval_steps=1",
        "training.save_steps=1",
        "training.logging_steps=1",
        "training.dataloader_num_workers=0",
        "training.use_cpu=true",
        "training.disable_tqdm=true",
    ]


def clips(num_videos, seed=0, weight=1):
    """Section of a data set of drawn clips."""
    options = {"num_videos": num_videos, "seed": seed, "size": 64, "num_frames": 8}
    return {"name": "motion_shapes", "weight": weight, "options": options}


def write(folder, content) -> Path:
    """The content as a file in a folder."""
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(content))
    return file
