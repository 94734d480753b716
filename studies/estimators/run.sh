#!/usr/bin/env bash
# Every estimator of the Jacobian on digits-fewshot at 5 and 10 images per class: each one's weight is the best of six
# on validation images, over seeds that the table does not use; the table is on test images. Then what a step costs, at
# the size of CIFAR images. Run it from the repository; what is there is not run again.
set -euo pipefail
here=studies/estimators
jkbench=${JKBENCH:-jkbench}
estimators="rows=correct rows=largest rows=top,top=3 rows=full rows=projection rows=forward rows=differences
rows=correct,normalise=true rows=largest,normalise=true"
rows() { for estimator in $estimators; do for weight in $*; do echo -n "jacobian[$estimator,jac=$weight],"; done; done; }

$jkbench run --task digits-fewshot --split validation --shots 5,10 --seeds 100-101 --leaderboard $here \
    --methods "distill,$(rows 0.01 0.1 1 10 100 1000)"
$jkbench run --task digits-fewshot --shots 5,10 --seeds 5 --leaderboard $here \
    --methods "distill,$(python $here/report.py chosen)"
if [ ! -e $here/cost-digits.json ]; then
    $jkbench profile --task digits-fewshot --shots 5 --leaderboard leaderboard --json \
        --methods "distill,$(rows 1)" > $here/cost-digits.json
fi
if [ ! -e $here/cost.json ]; then # without rows=full: its graph holds a backward pass for each of the 100 classes
    estimators=${estimators/rows=full/}
    $jkbench profile --task cifar100-fewshot-short --shots 1 --leaderboard leaderboard --json \
        --methods "distill,$(rows 1)" > $here/cost.json
fi
python $here/report.py > $here/README.md
