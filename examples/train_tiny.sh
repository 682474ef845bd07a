#!/usr/bin/env bash
# Train glus-tiny from scratch: about two hours and a quarter on one CPU core. Every stage resumes.
#
#   bash examples/train_tiny.sh [RUNS_FOLDER] [CHECKPOINT_FOLDER]
set -euo pipefail
cd "$(dirname "$0")/.."
runs="${1:-runs/tiny}"
checkpoint="${2:-$runs/glus-tiny}"
export OMP_NUM_THREADS=1

# the mask branch alone, prompted by the true place of its target; then with memory and missing prompts
python examples/train_tiny.py --stage mask --output "$runs/mask" --minutes 30 --adam-lr 0.001
# vision and language: which cells of the frame does the expression mean
python examples/train_tiny.py --stage read --output "$runs/read" --minutes 42 --adam-lr 0.003 --muon-lr 0.015
# both together: the [SEG] state prompts the mask branch
python examples/train_tiny.py --stage join --output "$runs/join" --minutes 35 --adam-lr 0.001 --muon-lr 0.006 \
    --from "$runs/mask" "$runs/read"
# the mask branch follows what the [SEG] state can no longer tell apart
python examples/train_tiny.py --stage memory --output "$runs/memory" --minutes 20 --adam-lr 0.0008 --start "$runs/join"

python examples/export_tiny.py --run "$runs/memory" --output "$checkpoint"
python examples/evaluate_tiny.py --model "$checkpoint" --split test --num-videos 200
