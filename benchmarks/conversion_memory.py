"""Peak memory of `glus-hf convert` and `glus-hf export` on a checkpoint in shards of random bfloat16 numbers.

Run: python benchmarks/conversion_memory.py [--layers 24] [--shards 4] [--folder DIR]

24 layers of width 1024 are 4 shards of 200 MB; 7B are 32 of width 4096. The peak is that of the process less what it
had after its imports, so it counts mapped files too.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch


sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.models.glus.upstream_folders import CLIP, MASK_PREFIX, SAM2_CONFIG, make_folder, upstream_weights  # noqa: E402


WIDTH, INNER = 1024, 4096
MEASURE = """
import sys, time
from pathlib import Path
from glus_hf.models.glus.convert_glus_to_hf import convert_checkpoint
from glus_hf.models.glus.convert_glus_to_original import export_checkpoint

def memory(key):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(key))

def measure(name, run):
    before, start = memory("VmRSS"), time.perf_counter()
    open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
    run()
    print(name, memory("VmHWM") - before, time.perf_counter() - start)

small, source, clip, sam2, output = map(Path, sys.argv[1:])
convert_checkpoint(small, clip, output / "first", sam2, progress=False)  # all imports
measure("convert", lambda: convert_checkpoint(source, clip, output / "second", sam2, progress=False))
measure("export", lambda: export_checkpoint(output / "second", output / "third", progress=False))
"""


def random_weights(layers):
    """The miniature checkpoint with a wider and deeper language model."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for name, tensor in upstream_weights().items():
        if MASK_PREFIX in name or "inv_freq" in name:
            weights[name] = tensor
            continue
        shape = [{64: WIDTH, 128: INNER}.get(size, size) for size in tensor.shape]
        copies = [name.replace(".0.", f".{layer}.", 1) for layer in range(layers)] if "layers.0." in name else [name]
        for copy in copies if "layers." not in name or "layers.0." in name else []:
            weights[copy] = torch.randn(shape, generator=generator).bfloat16()
    return weights


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--folder", help="for the temporary files; about four times the checkpoint")
    arguments = parser.parse_args()
    weights = random_weights(arguments.layers)
    fields = {"hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": arguments.layers}
    print("files        command  largest file    peak         ratio   seconds")
    for safetensors in (False, True):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            folder = Path(folder)
            small = make_folder(folder / "small", upstream_weights())
            source = make_folder(folder / "source", weights, arguments.shards, safetensors, **fields)
            largest = max(file.stat().st_size for file in source.iterdir())
            command = [sys.executable, "-c", MEASURE, small, source, CLIP, SAM2_CONFIG, folder / "out"]
            done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=True)
            kind = "safetensors" if safetensors else "bin"
            for line in done.stdout.splitlines():
                name, peak, seconds = line.split()
                row = f"{largest / 1e6:9.0f} MB {int(peak) / 1e6:9.0f} MB {int(peak) / largest:9.2f}"
                print(f"{kind:12} {name:8} {row} {float(seconds):9.1f}")


if __name__ == "__main__":
    main()
