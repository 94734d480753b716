#!/usr/bin/env bash
# The weights of the Jacobian terms, and each term alone, on validation images: minutes on two cores.
set -euo pipefail
rows=""
for weight in 0.01 0.1 1 10 100 1000; do
    rows="$rows,jacobian[jac=$weight],lwf-jacobian[jac=$weight],attention-jacobian[jac=$weight]"
done
alone="jacobian[ce=0,act=0,jac=1],lwf-jacobian[ce=0,act=0,jac=1],attention-jacobian[ce=0,act=0,attention=0,jac=1]"
for task in digits-transfer digits-fewshot; do
    jkbench run --methods "${rows#,},$alone" --task $task --split validation --shots 5,50 --seeds 100-102 \
        --leaderboard studies/terms
done
python studies/terms/report.py > studies/terms/README.md
