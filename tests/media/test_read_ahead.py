"""Frames that a thread reads before they are asked for: the same frames, few of them, and nothing left behind."""

import threading

import numpy as np
import pytest

from glus_hf.errors import VideoError
from glus_hf.media import frames_on_demand
from glus_hf.media.frames_on_demand import FramesOnDemand


WAIT = 20  # seconds, for a thread on a machine with other work


class Reader:
    """Reads numbered frames, notes which and where, and waits for `gate` where there is one."""

    def __init__(self, gate=None, broken=None):
        self.gate, self.broken, self.read, self.threads = gate, broken, [], set()

    def __call__(self, index):
        if self.gate is not None and threading.current_thread() is not threading.main_thread():
            self.gate.wait(WAIT)
        if index == self.broken:
            raise VideoError(f"frame {index} is damaged: repair it")
        self.read.append(index)
        self.threads.add(threading.current_thread().name)
        return np.full((4, 6, 3), index, np.uint8)


def frames_of(reader):
    return FramesOnDemand(200, (4, 6), reader)


def threads_ahead():
    return [thread for thread in threading.enumerate() if thread.name.startswith("frames-ahead")]


def assert_ended():
    for thread in threads_ahead():
        thread.join(WAIT)
    assert not threads_ahead()


def test_each_frame_is_read_once_in_the_thread():
    frames = frames_of(reader := Reader())
    for begin in range(0, 96, 16):
        frames.read_ahead(range(begin, 200))
        assert [int(frames[index].max()) for index in range(begin, begin + 16)] == [*range(begin, begin + 16)]
    assert reader.read[:96] == [*range(96)] and reader.threads == {"frames-ahead_0"}
    frames.read_ahead(())
    assert_ended()


@pytest.mark.parametrize(("size", "most"), [((4, 6), 16), ((1080, 1920), 10), ((2160, 3840), 2), ((9000, 9000), 2)])
def test_few_are_read_ahead(size, most):
    frames = FramesOnDemand(200, size, lambda index: np.broadcast_to(np.uint8(index), (*size, 3)))
    frames.read_ahead(range(200))
    frames._ahead[most - 1].result(WAIT)
    assert len(frames._ahead) == most and not frames._held
    frames.read_ahead(())


def test_it_ends_at_once_and_gives_up_the_rest():
    frames = frames_of(reader := Reader(gate := threading.Event()))
    frames.read_ahead(range(16))
    frames.read_ahead(())  # while the first frame is being read
    assert not frames._ahead
    gate.set()
    assert_ended()
    assert reader.read in ([], [0])
    assert int(frames[3].max()) == 3 and int(frames[0].max()) == 0  # and frames are read as before


def test_another_way_keeps_what_both_have():
    frames = frames_of(reader := Reader())
    frames.read_ahead(range(4))
    frames.read_ahead(range(3, 1, -1))
    assert set(frames._ahead) == {2, 3}
    assert [int(frames[index].max()) for index in (3, 2)] == [3, 2]
    assert len(reader.read) == len(set(reader.read))
    frames.read_ahead(())


def test_an_error_is_raised_where_the_frame_is_asked_for():
    frames = frames_of(Reader(broken=2))
    frames.read_ahead(range(8))
    assert int(frames[1].max()) == 1
    with pytest.raises(VideoError, match="frame 2 is damaged: repair it"):
        frames[2]
    assert int(frames[3].max()) == 3
    frames.read_ahead(())
    assert_ended()


def test_two_threads_that_ask_for_one_frame_read_it_once():
    reader, found = Reader(), []
    frames = frames_of(reader)
    threads = [threading.Thread(target=lambda: found.append(frames[7])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert len(found) == 4 and reader.read == [7]


def test_a_part_of_a_video(monkeypatch):
    monkeypatch.setattr(frames_on_demand, "AHEAD_FRAMES", 3)
    frames = frames_of(Reader())
    part = frames[100:120:2]
    part.read_ahead(range(1, 9))
    assert set(frames._ahead) == {102, 104, 106} and int(part[2].max()) == 104
    part.read_ahead(())
    assert_ended()
