#!/usr/bin/env bash
# The same trials in float32 and in bfloat16, on validation images, at seeds that no table uses; then how far rounding
# moves a gradient. About 40 minutes on two idle cores; trials that are there are not run again.
set -euo pipefail
here=studies/precision
jkbench=${JKBENCH:-jkbench}
methods="distill,jacobian,jacobian[normalise=true],attention-jacobian"
for task in digits-fewshot $here/tasks/digits-bfloat16.toml; do
    $jkbench run --task $task --split validation --shots 10 --seeds 100-119 --leaderboard $here --methods "$methods"
    $jkbench run --task $task --split validation --shots 50 --seeds 100-109 --leaderboard $here --methods "$methods"
done
for task in cifar10-lite $here/tasks/cifar10-bfloat16.toml; do
    $jkbench run --task $task --split validation --shots 20 --seeds 100-129 --leaderboard $here \
        --beside leaderboard --methods distill,jacobian
done
if [ ! -e $here/gradients.json ]; then
    python $here/gradients.py digits-fewshot cifar10-lite
fi
python $here/report.py > $here/README.md
