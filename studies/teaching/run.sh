#!/usr/bin/env bash
# The same students with teachers of other recipes, on validation images: minutes on two cores for digits, under an hour
# for CIFAR-10. Trials that are there are not run again. SUITES=digits runs one of them.
set -euo pipefail
for suite in ${SUITES:-digits cifar10}; do
    read -r rows seeds < <(python studies/teaching/report.py "$suite")
    for task in $(python studies/teaching/recipes.py "$suite"); do
        ${JKBENCH:-jkbench} run --methods "$rows" --task "$task" --split validation --seeds "$seeds" \
            --leaderboard studies/teaching --jobs "${JOBS:-2}"
    done
    python studies/teaching/properties.py "$suite"
done
python studies/teaching/report.py > studies/teaching/README.md
