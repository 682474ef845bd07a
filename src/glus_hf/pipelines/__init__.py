"""The pipeline task `referring-video-segmentation`."""

# first, because its import registers our pipeline class, whose module must not be half imported then
import transformers.pipelines  # noqa: F401
