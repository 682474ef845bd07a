"""Decoding on a GPU lets the host go on: run on a GPU that is only pretended, on which reading a value fails and
copies are seen."""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from glus_hf import GLUSForVideoSegmentation, GLUSProcessor
from glus_hf.models.device_views import resize_weights
from glus_hf.models.memory_bank import MemoryBank
from glus_hf.models.propagation import PropagationPass, decode_read_frame
from glus_hf.models.window_reader import SegPredictions


class Copies(TorchDispatchMode):
    """Notes copies between host and GPU, and whether the host waits for them."""

    def __init__(self):
        super().__init__()
        self.waits = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        sources = {each.device.type for each in args if isinstance(each, torch.Tensor) and each.ndim}
        if isinstance(found, torch.Tensor) and sources - {found.device.type}:
            self.waits.append(not (kwargs or {}).get("non_blocking"))
        return found


@pytest.fixture
def pretended(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda values: values)
    resize_weights.cache_clear()
    yield FakeTensorMode(allow_non_fake_inputs=True)
    resize_weights.cache_clear()  # of the pretended device


def test_no_frame_is_waited_for(pretended):
    model, processor = (
        GLUSForVideoSegmentation.from_pretrained("glus-tiny").eval(),
        GLUSProcessor.from_pretrained("glus-tiny"),
    )
    session = processor.init_video_session([np.zeros((96, 128, 3), np.uint8)] * 4, ["the circle", "the square"])
    session.missing_seg_frames = [[], []]
    bank = MemoryBank(model.config.num_maskmem, model.config.memory_stride)
    passes = [PropagationPass(0, 1, [1, 0], bank)]
    with pretended, torch.no_grad(), Copies() as copies:
        model.to("cuda")
        session.use_device(model.device)
        copies.waits.clear()
        for frame_idx, emitted in enumerate([[True, True], [True, True], [True, False], [True, True]]):
            embeddings = torch.zeros(2, model.config.seg_embedding_size, device="cuda")
            read = SegPredictions(embeddings, torch.ones(2, device="cuda"), emitted)
            output = decode_read_frame(model.mask_branch, session, passes, read, frame_idx)
            assert output.mask_logits.shape == (2, 96, 128) and output.mask_logits.device.type == "cuda"
        assert copies.waits and not any(copies.waits)
        with pytest.raises(DataDependentOutputException):  # as a wait would
            output.scores[0].item()
