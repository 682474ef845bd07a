"""Metrics and evaluation of referring video segmentation. Import the submodules directly."""
