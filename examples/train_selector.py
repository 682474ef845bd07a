"""Train the key-frame selector as a configuration file says: the same as `glus-hf train`.

    python examples/train_selector.py examples/configs/selector.yaml data.root=/data data.labels=my-labels
    torchrun --nproc_per_node 4 examples/train_selector.py examples/configs/selector.yaml data.root=/data

selector_tiny.yaml trains on what the first steps of examples/self_refine.sh write.
After the file, any key can be set: training.max_steps=100 model.pretrained=my-start data.train.0.weight=2
A run that was stopped goes on with --resume; so does any checkpoint with --resume runs/selector/checkpoint-500.
"""

import sys

from glus_hf.cli.main import main


if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
