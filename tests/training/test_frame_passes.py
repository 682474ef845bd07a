"""How often training has passed over the frames of its videos."""

import pytest

from glus_hf.training.samples.mixture import MixtureDataset
from tests.training.small_training import history, quick_trainer, videos


def test_passes_over_the_frames_are_logged_and_go_on_after_a_resume(tmp_path):
    options = {"max_steps": 3, "save_strategy": "steps", "save_steps": 2}
    data = videos(4)  # of 8 frames each
    trainer = quick_trainer(tmp_path / "run", dataset=data, **options)
    output = trainer.train()
    sample = data.num_context_frames + data.num_query_frames
    assert history(trainer, "frames_seen") == [2 * sample, 4 * sample, 6 * sample, 6 * sample]
    assert history(trainer, "frame_passes")[:3] == [2 * sample / 32, 4 * sample / 32, 6 * sample / 32]
    assert output.metrics["frame_passes"] == 6 * sample / 32  # the summary

    resumed = quick_trainer(tmp_path / "run", dataset=videos(4), **options)
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))
    assert history(resumed, "frame_passes") == pytest.approx(history(trainer, "frame_passes"))


def test_a_mixture_has_the_frames_of_its_parts():
    parts = {"a": videos(4), "b": videos(8)}
    assert videos(4).total_frames == 32 and MixtureDataset(parts, {"a": 1, "b": 1}).total_frames == 96
