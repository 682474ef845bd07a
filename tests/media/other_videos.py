"""A video as other programs write it: without the tag of this package."""

import av
import numpy as np


FRAMES = [np.full((32, 48, 3), 40 * index, np.uint8) for index in range(3)]


def write_as_others(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.height, stream.width, stream.pix_fmt = 32, 48, "yuv420p"
        for frame in FRAMES:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
