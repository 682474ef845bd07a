#!/usr/bin/env bash
# The self-refinement loop on MotionShapes: a GLUS labels frames by how well it segments them, a selector learns that,
# and segmentation then starts from the frame with the best score. On one CPU core about two hours.
# Run it again to resume.
#
#   bash examples/self_refine.sh [GLUS] [RUNS_FOLDER]
#
# GLUS: the segmentation model (default glus-tiny), or "train" for one that is trained from scratch first, in two hours
# more. It draws new clips at every step and never sees those that it labels, so it need not stop early to label well.
set -euo pipefail
cd "$(dirname "$0")/.."
glus="${1:-glus-tiny}"
runs="${2:-runs/selector}"
export OMP_NUM_THREADS=1
shapes="--dataset motion_shapes --data-option size=64 --device cpu"

# 0. a GLUS
if [ "$glus" = train ]; then
    bash examples/train_tiny.sh "$runs/tiny"
    glus="$runs/tiny/glus-tiny"
fi

# 1. labels: IoU of every frame; a frame without the target is no good to start from, so --empty 0. The clips of the
# test have other seeds.
label="glus-hf pseudo-label $shapes --model $glus --empty 0"
$label --split train --num-videos 600 --output "$runs/labels"
$label --split reveal --num-videos 300 --seed 100 --output "$runs/labels-reveal"
$label --split validation --num-videos 60 --output "$runs/labels-validation"

# 2. what Chat-UniVi is to the real selector: eyes and language, and how much of the target a frame shows
python examples/train_tiny_selector.py --stage see --output "$runs/see" --minutes 4 --decay 0.4
python examples/train_tiny_selector.py --stage base --output "$runs/base" --minutes 40 --start "$runs/see"
[ -f "$runs/start/config.json" ] || python examples/train_tiny_selector.py --export "$runs/base" --output "$runs/start"

# 3. the selector learns the labels
resume=""
ls -d "$runs"/refine/checkpoint-* > /dev/null 2>&1 && resume="--resume"
[ -f "$runs/glus-selector-tiny/config.json" ] || glus-hf train selector_tiny \
    model.pretrained="$runs/start" data.train.0.labels="$runs/labels" data.train.1.labels="$runs/labels-reveal" \
    validation.labels="$runs/labels-validation" \
    training.output_dir="$runs/refine" $resume --export "$runs/glus-selector-tiny"

# 4. does it help?
selector="$runs/glus-selector-tiny"
table="python examples/key_frames_table.py --model $glus --selector $selector --device cpu"
$table --split test --num-videos 150
$table --split reveal --num-videos 40
common="--dataset motion_shapes --model $glus --device cpu --num-videos 100 --protocol mevis_v2 --quiet"
for split in validation test; do
    glus-hf evaluate $common --split $split --selector "$selector" --output "$runs/evaluate-$split"
done
python examples/calibrate_no_target.py "$runs/evaluate-validation" --test "$runs/evaluate-test"
