"""Tests that every model family of glus_hf must pass, in the manner of transformers' own common tests.

A family derives from [`ModelTests`] and says how its smallest model and its batches are made; see
tests/models/glus/test_modeling_glus.py. All models here have random weights and a few thousand parameters.
"""

import pytest
import torch
from safetensors.torch import load_file, save_file

from glus_hf import CheckpointError


def randomize(model, scale=0.1, seed=0):
    """Move every parameter by noise, so that none is zero or one by initialization and all of them matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return model


def gradients(model, batch):
    """Loss gradient of every parameter that gets one."""
    model.zero_grad()
    model(**batch).loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_same(first, second, **tolerances):
    """Two nested results (lists, dicts of tensors) are equal, or close with tolerances for `torch.testing`."""
    torch.testing.assert_close(first, second, **({"rtol": 0, "atol": 0} | tolerances))


class ModelTests:
    """Hooks: `model_class`, `tiny_config`, `sample`, `collate`, `results`, `extend_padding` and `odd_configs`."""

    model_class = None
    float32_parts = ()  # prefixes of weights that stay in float32, whatever the dtype of the model
    results_in_bfloat16 = None  # names of results that rounding does not reorder; all by default

    def has_attention(self, name):
        """Whether the part of a model with this name may attend; a convolutional one has no attention to choose."""
        return True

    def tiny_config(self, **overrides):
        """Configuration of a model that runs in milliseconds."""
        raise NotImplementedError

    def sample(self, config, index):
        """Video number `index` with its expressions, as `collate` takes it; different indices differ in length."""
        raise NotImplementedError

    def collate(self, config, samples):
        """Keyword arguments of `forward` for a training batch with labels."""
        raise NotImplementedError

    def results(self, output, samples):
        """One dict of tensors per video."""
        raise NotImplementedError

    def extend_padding(self, batch, length):
        """The same batch with `length` more padding positions."""
        raise NotImplementedError

    def odd_configs(self):
        """Overrides of `tiny_config` with sizes no released checkpoint has."""
        raise NotImplementedError

    # ---- helpers

    def tiny_model(self, **overrides):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return randomize(self.model_class(self.tiny_config(**overrides))).eval()

    def samples(self, config):
        return [self.sample(config, index) for index in range(2)]

    def batch(self, model):
        return self.collate(model.config, self.samples(model.config))

    @torch.no_grad()
    def run(self, model, batch=None):
        """Loss and results of a batch (of the two samples by default)."""
        output = model(**(self.batch(model) if batch is None else batch))
        return {"loss": output.loss, "results": self.results(output, self.samples(model.config))}

    # ---- saving and loading

    def test_config_survives_saving(self, tmp_path):
        config = self.tiny_config()
        config.save_pretrained(tmp_path)
        assert type(config).from_pretrained(tmp_path).to_dict() == config.to_dict()

    def test_saved_files(self, tmp_path):
        model = self.tiny_model()
        model.save_pretrained(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors"}
        assert load_file(tmp_path / "model.safetensors").keys() == model.state_dict().keys()

    @pytest.mark.parametrize("kwargs", [{}, {"device_map": {"": "cpu"}}], ids=["plain", "device_map"])
    def test_loaded_model_is_the_saved_one(self, tmp_path, kwargs):
        model = self.tiny_model()
        model.save_pretrained(tmp_path)
        loaded, info = self.model_class.from_pretrained(tmp_path, output_loading_info=True, **kwargs)
        assert not any(info.values()), info
        assert not loaded.training
        assert_same(dict(loaded.named_parameters()), dict(model.named_parameters()))
        assert_same(dict(loaded.named_buffers()), dict(model.named_buffers()))  # those that are not saved, too
        assert_same(self.run(loaded), self.run(model))

    def test_a_weight_too_many_in_any_part_is_refused(self, tmp_path):
        model = self.tiny_model()
        model.save_pretrained(tmp_path)
        extra = {f"{part}.extra": torch.zeros(1) for part, _ in model.named_children()}
        weights = load_file(tmp_path / "model.safetensors") | extra
        save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=f"{len(extra)} unexpected .{min(extra)}"):
            self.model_class.from_pretrained(tmp_path)

    def test_loading_in_bfloat16_keeps_computed_buffers(self, tmp_path):
        model = self.tiny_model()
        model.save_pretrained(tmp_path)
        loaded = self.model_class.from_pretrained(tmp_path, dtype=torch.bfloat16)
        saved = model.state_dict().keys()
        kept = {name for name in saved if name.startswith(self.float32_parts)}
        assert {loaded.state_dict()[name].dtype for name in saved - kept} == {torch.bfloat16}
        assert {loaded.state_dict()[name].dtype for name in kept} <= {torch.float32}
        computed = {name: buffer for name, buffer in model.named_buffers() if name not in saved}
        assert_same({name: dict(loaded.named_buffers())[name] for name in computed}, computed)

    # ---- numbers

    def test_is_deterministic(self):
        model = self.tiny_model()
        assert_same(self.run(model), self.run(model))
        assert_same(self.run(self.tiny_model()), self.run(model))

    def test_fresh_model_is_finite(self):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = self.model_class(self.tiny_config()).eval()
        assert all(tensor.isfinite().all() for tensor in model.state_dict().values())
        assert self.run(model)["loss"].isfinite()

    def test_batch_equals_one_by_one(self):
        model = self.tiny_model()
        together = self.run(model)["results"]
        for sample, expected in zip(self.samples(model.config), together, strict=True):
            with torch.no_grad():
                output = model(**self.collate(model.config, [sample]))
            assert_same(self.results(output, [sample])[0], expected, rtol=1e-4, atol=1e-5)

    def test_padding_changes_nothing(self):
        model = self.tiny_model()
        padded = self.run(model, self.extend_padding(self.batch(model), 5))
        assert_same(padded, self.run(model), rtol=1e-4, atol=1e-5)

    def test_attention_backends_agree(self):
        state = self.tiny_model().state_dict()
        by_backend = {}
        for backend in ("eager", "sdpa"):
            model = self.model_class._from_config(self.tiny_config(), attn_implementation=backend).eval()
            model.load_state_dict(state)
            parts = {name: module for name, module in model.named_modules() if hasattr(module, "config")}
            chosen = {part.config._attn_implementation for name, part in parts.items() if self.has_attention(name)}
            assert chosen == {backend}
            by_backend[backend] = self.run(model)
        assert_same(by_backend["sdpa"], by_backend["eager"], rtol=1e-4, atol=1e-5)

    @pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable. is deprecated:FutureWarning")
    def test_gradient_checkpointing_keeps_gradients(self):
        model = self.tiny_model().train()
        batch = self.batch(model)
        expected = gradients(model, batch)
        model.gradient_checkpointing_enable()
        checkpointed = [module for module in model.modules() if getattr(module, "gradient_checkpointing", False)]
        assert checkpointed
        assert_same(gradients(model, batch), expected, rtol=1e-4, atol=1e-6)

    def test_bfloat16_is_close(self):
        model = self.tiny_model()
        expected = self.run(model)
        batch = self.batch(model)
        ours = self.run(model.to(torch.bfloat16), batch)
        assert ours["loss"].item() == pytest.approx(expected["loss"].item(), rel=0.05)
        for video, reference in zip(ours["results"], expected["results"], strict=True):
            for name in self.results_in_bfloat16 or video:
                values = video[name]
                pair = values.float().flatten(), reference[name].flatten()
                assert torch.cosine_similarity(*pair, dim=0) > 0.99, name
        assert all(gradient.isfinite().all() for gradient in gradients(model.train(), batch).values())

    def test_odd_sizes(self):
        for overrides in self.odd_configs():
            model = self.tiny_model(**overrides)
            assert self.run(model)["loss"].isfinite(), overrides
