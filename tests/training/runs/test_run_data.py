"""The datasets of a configuration."""

from glus_hf.training.glus_run import training_set
from glus_hf.training.glus_run_config import load_run_config
from tests.models.glus.small_glus import small_processor
from tests.training.runs.run_files import clips, write


def test_mixture_samples_by_weight(tmp_path):
    file = write(tmp_path, {"data": {"train": [clips(4, seed=0, weight=3), clips(4, seed=1, weight=1)]}})
    config = load_run_config(file, [f"data.cache_dir={tmp_path / 'cache'}", "data.samples_per_epoch=400"])
    mixture = training_set(config, small_processor(), seed=0)
    sampled = [mixture.sample_video(index)[0] for index in range(400)]
    assert len(mixture) == 400 and 270 < sampled.count("motion_shapes") < 330
