import numpy as np

from glus_hf.visualization import palette


def test_palette_colours_are_distinct_and_stable():
    colours = [palette(index) for index in range(24)]
    assert len(set(colours)) == 24
    assert all(0 <= channel <= 255 for colour in colours for channel in colour)
    nearest = min(np.abs(np.subtract(a, b)).sum() for a in colours[:8] for b in colours[:8] if a != b)
    assert nearest > 60
