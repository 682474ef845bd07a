"""Train GLUS or its key-frame selector as a configuration file says: the same as `glus-hf train`.

    accelerate launch examples/train.py            # the bundled model on generated clips, to try it out
    python examples/train.py examples/configs/tiny.yaml
    torchrun --nproc_per_node 4 examples/train.py examples/configs/glus_s.yaml data.root=/data
    accelerate launch --config_file examples/accelerate/zero2.yaml examples/train.py examples/configs/glus_s.yaml

After the file, any key can be set: training.max_steps=100 training.learning_rate=1e-4 data.train.0.weight=2
A run that was stopped goes on with --resume; so does any checkpoint with --resume runs/mine/checkpoint-500.
"""

import sys

from glus_hf.cli.main import main


if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
