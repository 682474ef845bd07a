"""Train GLUS as a configuration file says.

    python examples/train.py examples/configs/tiny.yaml
    torchrun --nproc_per_node 4 examples/train.py examples/configs/glus_s.yaml data.root=/data
    accelerate launch --config_file examples/accelerate/zero2.yaml examples/train.py examples/configs/glus_s.yaml

After the file, any key can be set: training.max_steps=100 training.learning_rate=1e-4 data.train.0.weight=2
A run that was stopped goes on with --resume; so does any checkpoint with --resume runs/mine/checkpoint-500.
"""

from __future__ import annotations

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a file of examples/configs or your own")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="go before the file")
    parser.add_argument("--resume", nargs="?", const=True, help="go on from the last checkpoint, or from this one")
    parser.add_argument("--export", help="folder for the trained model, adapter merged; as `export` in the file")
    args = parser.parse_intermixed_args()
    from glus_hf.training.runs.run_errors import errors_in_one_line

    with errors_in_one_line():
        train(args)


def train(args: argparse.Namespace) -> None:
    from glus_hf.training.glus_run import build_trainer
    from glus_hf.training.glus_run_config import load_run_config
    from glus_hf.training.runs.run_folders import check_run_folders

    config = load_run_config(args.config, args.overrides)
    config.export = args.export or config.export
    check_run_folders(config, args.resume)
    trainer = build_trainer(config)
    result = trainer.train(resume_from_checkpoint=args.resume)
    trainer.log_metrics("train", result.metrics)
    trainer.save_state()
    if config.export:
        trainer.export(config.export)
    else:
        trainer.save_model()
    if trainer.args.push_to_hub:
        trainer.push_to_hub()


if __name__ == "__main__":
    main()
