#!/usr/bin/env bash
# The candidates among which the weights of digits-fewshot and digits-transfer were chosen, on validation images.
set -euo pipefail
candidates=$(python3 - <<'P'
weights = "0.01 0.1 1 10 100"
candidates = {
    "jacobian[jac={}]": weights,
    "noise[sigma={}]": "0.1 0.2 0.3 0.6 1.0",
    "attention[attention={}]": weights,
    "attention-jacobian[jac={}]": weights,
    "lwf-jacobian[jac={}]": weights,
    "jacobian-norm[norm={}]": weights,
}
print(",".join(name.format(value) for name, values in candidates.items() for value in values.split()))
P
)
for task in digits-fewshot digits-transfer; do
    ${JKBENCH:-jkbench} run --task "$task" --split validation --shots 1,5 --seeds 100-102 --methods "$candidates"
done
