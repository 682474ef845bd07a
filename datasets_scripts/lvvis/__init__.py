"""LV-VIS as used for referring segmentation: category names as expressions, for training."""
