"""Train on drawn clips in one of several processes and write down what came out; started by test_distributed.py.

python -m torch.distributed.run --nproc_per_node 2 tests/training/run_ranks.py OUTPUT '{"max_steps": 2}'
"""

import json
import sys
from pathlib import Path

import torch


sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.training.small_training import fresh_model, history, quick_trainer  # noqa: E402


def main(output: str, options: dict) -> None:
    torch.set_num_threads(1)
    resume = options.pop("resume", None)
    validate = options.pop("validate", False)
    dtype = options.pop("dtype", "float32")
    if validate:
        from glus_hf.training.validation import VideoValidation
        from tests.training.small_training import rows, videos

        validation = VideoValidation(rows(3, "validation"), Path(output) / "validation", "validation", max_videos=3)
        options |= {"video_evaluator": validation, "eval_dataset": videos(3), "eval_strategy": "steps"}
    trainer = quick_trainer(output, model=fresh_model().to(getattr(torch, dtype)), **options)
    trainer.train(resume_from_checkpoint=resume)
    names = ("loss", "grad_norm", "ce_loss", "mask_bce_loss", "mask_dice_loss", "contrastive_loss", "eval_J&F")
    record = {name: history(trainer, name) for name in names}
    record |= {"ranks": trainer.args.world_size, "accumulation": trainer.args.gradient_accumulation_steps}
    record["strategy"] = str(trainer.accelerator.distributed_type)
    state = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    if trainer.is_world_process_zero():
        names = {name.replace("module.", "") for name, p in trainer.model.named_parameters() if p.requires_grad}
        trained = {name: value.detach().cpu() for name, value in state.items() if name in names}
        torch.save(trained, Path(output) / "trained.pt")
        (Path(output) / "record.json").write_text(json.dumps(record))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
