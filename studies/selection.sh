#!/usr/bin/env bash
# The candidates among which the weights of digits-fewshot and digits-transfer were chosen, on validation images.
set -euo pipefail
candidates=$(python3 - <<'P'
weights = {
    "jacobian[jac={}]": "0.01 0.1 1 10 100",
    "noise[sigma={}]": "0.1 0.2 0.3 0.6 1.0",
    "attention[attention={}]": "0.01 0.1 1 10 100",
    "attention-jacobian[jac={}]": "0.001 0.01 0.1 1 10",
    "lwf-jacobian[jac={}]": "0.001 0.01 0.1 1 10",
    "jacobian-norm[norm={}]": "0.001 0.01 0.1 1 10",
}
print(",".join(name.format(value) for name, values in weights.items() for value in values.split()))
P
)
for task in digits-fewshot digits-transfer; do
    ${JKBENCH:-jkbench} run --task "$task" --split validation --shots 1,5 --seeds 100-102 --methods "$candidates"
done
