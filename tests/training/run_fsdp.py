"""Shard a prepared model over two processes and compare one training step with the whole model's; see
test_distributed.py.

accelerate does not shard on CPUs, so this calls what it calls, with the layers of examples/accelerate/fsdp2.yaml.
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
import yaml
from torch.distributed.fsdp import fully_shard


ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from glus_hf.training.samples.collators import GLUSCollator  # noqa: E402
from glus_hf.training.trainable_parameters import prepare_model  # noqa: E402
from tests.models.glus.small_glus import small_processor  # noqa: E402
from tests.training.small_training import fresh_model, videos  # noqa: E402


def gradients(model, batch) -> tuple[float, dict[str, torch.Tensor]]:
    loss = model.train()(**batch).loss
    loss.backward()
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            gradient = parameter.grad
            found[name] = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
    return loss.item(), found


def main() -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    settings = yaml.safe_load((ROOT / "examples" / "accelerate" / "fsdp2.yaml").read_text())["fsdp_config"]
    layers = settings["fsdp_transformer_layer_cls_to_wrap"].split(",")
    batch = GLUSCollator(small_processor())([videos()[0], videos()[3]])
    models = [prepare_model(fresh_model(), lora_dropout=0.0) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    assert all(model.get_base_model().pack_expressions() for model in models)
    expected = gradients(models[0], batch)
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    sharded = [module for module in models[1].modules() if type(module).__name__ in layers]
    assert {type(module).__name__ for module in sharded} == set(layers), layers
    for module in sharded:
        fully_shard(module, mesh=mesh)
    fully_shard(models[1], mesh=mesh)
    assert all(hasattr(parameter, "full_tensor") for parameter in models[1].parameters())
    found = gradients(models[1], batch)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    print(f"rank {dist.get_rank()} agrees")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
