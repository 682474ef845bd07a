"""A few generated clips with pseudo-labels, for runs of the selector."""

from glus_hf.data.load_dataset import load_referring_dataset
from tests.training.samples.label_folders import write_labels


def labelled_rows(folder):
    """Options of motion_shapes, and the folder of labels of its split "test"."""
    options = {"num_videos": 4, "size": 48, "num_frames": 6}
    rows = load_referring_dataset("motion_shapes", split="test", cache_dir=str(folder / "cache"), **options)
    write_labels(folder / "labels", rows, lambda row, frame: 0.2 * (frame % 5))
    return options, folder / "labels"
