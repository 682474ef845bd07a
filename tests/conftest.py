import atexit
import gc
import os

import pytest


# before torch is imported: on two cores, two test processes of two threads each are slower than of one
os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.disable()  # what is imported stays: to look through it for garbage took seconds, and again after every training


def pytest_configure(config):
    """With pytest-xdist, files come in their order. Its own puts those with the fewest tests last, which are the slow
    ones: one process waited for the other."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_finish(session):
    """From here on only what tests make is looked through."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure(config):
    atexit.register(gc.unfreeze)  # not before pytest looks for garbage, twice


@pytest.fixture(autouse=True)
def progress_bars_as_in_a_new_process():
    """`--quiet` switches the bars of this process off; commands run in it must not decide about later tests."""
    yield
    import datasets
    from transformers.utils import logging

    logging.enable_progress_bar()
    logging.set_verbosity_warning()
    datasets.enable_progress_bars()
