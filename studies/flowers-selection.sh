#!/usr/bin/env bash
# The candidates for the weight of `act` in flowers-transfer, on validation images, over seeds that the table does not
# use. The teacher's 1,000 logits have squares that sum to thousands, where cross-entropy is of order one.
set -euo pipefail
${JKBENCH:-jkbench} run --task flowers-transfer --split validation --shots 4,10 --seeds 100-101 \
    --methods "lwf[act=1],lwf[act=0.1],lwf[act=0.01],lwf[act=0.001],scratch"
