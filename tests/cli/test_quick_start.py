import gc

import pytest

from glus_hf.cli.quick_start import without_collection


def test_collection_goes_on_after_an_error():
    with pytest.raises(KeyError), without_collection():
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled()


def test_collection_that_the_caller_stopped_stays_stopped():
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
