"""Packages only: setup.cfg cannot say "everything under src, and datasets_scripts as glus_hf.datasets_scripts"."""

from setuptools import find_packages, setup


DATASETS = "glus_hf.datasets_scripts"

setup(
    packages=[*find_packages("src"), DATASETS, *(f"{DATASETS}.{name}" for name in find_packages("datasets_scripts"))],
    package_dir={"": "src", DATASETS: "datasets_scripts"},
)
