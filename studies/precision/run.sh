#!/usr/bin/env bash
# The same trials in float32 and in bfloat16, on validation images, at seeds that no table uses. Minutes on two cores; what
# is there is not run again.
set -euo pipefail
here=studies/precision
jkbench=${JKBENCH:-jkbench}
methods="scratch,distill,attention,noise,attention-jacobian,jacobian,jacobian-norm,jacobian[normalise=true]"
methods+=",jacobian[rows=projection],jacobian[rows=differences,jac=0.1]"
for task in digits-fewshot $here/tasks/digits-bfloat16.toml; do
    $jkbench run --task $task --split validation --shots 10,50 --seeds 100-109 --leaderboard $here --methods "$methods"
done
python $here/report.py > $here/README.md
