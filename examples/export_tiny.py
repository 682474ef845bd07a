"""Turn a finished training run into a checkpoint folder: weights, config, processor. The training heads are dropped.

python examples/export_tiny.py --run runs/tiny/join --output src/glus_hf/checkpoints/glus-tiny
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tiny_model import Recipe, TrainingHeads, build_tiny
from train_tiny import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    recipe = Recipe.load(args.run)
    model, processor = build_tiny(recipe=recipe)
    load(args.run, model, TrainingHeads(model.config.text_config.hidden_size, recipe.scenes))
    model.eval().save_pretrained(args.output)
    processor.save_pretrained(args.output)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{args.output}: {parameters / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
