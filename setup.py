"""Packages only: setup.cfg cannot say "everything under src, and datasets_scripts as glus_hf.datasets_scripts"."""

from setuptools import find_packages, setup


setup(
    packages=[*find_packages("src"), "glus_hf.datasets_scripts"],
    package_dir={"": "src", "glus_hf.datasets_scripts": "datasets_scripts"},
)
