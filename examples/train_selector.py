"""Train the key-frame selector as a configuration file says.

    python examples/train_selector.py examples/configs/selector.yaml data.root=/data data.labels=my-labels
    torchrun --nproc_per_node 4 examples/train_selector.py examples/configs/selector.yaml data.root=/data

selector_tiny.yaml trains on what the first steps of examples/self_refine.sh write.
After the file, any key can be set: training.max_steps=100 model.pretrained=my-start data.train.0.weight=2
A run that was stopped goes on with --resume; so does any checkpoint with --resume runs/selector/checkpoint-500.
"""

from __future__ import annotations

import argparse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="a file of examples/configs or your own")
    parser.add_argument("overrides", nargs="*", metavar="section.key=value", help="go before the file")
    parser.add_argument("--resume", nargs="?", const=True, help="go on from the last checkpoint, or from this one")
    parser.add_argument("--export", help="folder for the trained selector, adapter merged; as `export` in the file")
    args = parser.parse_intermixed_args()
    from glus_hf.training.runs.run_errors import errors_in_one_line

    with errors_in_one_line():
        train(args)


def train(args: argparse.Namespace) -> None:
    from glus_hf.training.runs.run_folders import check_run_folders
    from glus_hf.training.selector_run import build_selector_trainer, load_selector_config

    config = load_selector_config(args.config, args.overrides)
    config.export = args.export or config.export
    check_run_folders(config, args.resume)
    trainer = build_selector_trainer(config)
    result = trainer.train(resume_from_checkpoint=args.resume)
    trainer.log_metrics("train", result.metrics)
    trainer.save_state()
    if config.export:
        trainer.export(config.export)
    else:
        trainer.save_model()


if __name__ == "__main__":
    main()
