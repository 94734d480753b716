#!/usr/bin/env bash
# The same students with sixteen teachers of other recipes, on validation images: minutes on two cores.
set -euo pipefail
rows="$(python studies/teaching/report.py rows)"
for task in $(python studies/teaching/recipes.py); do
    ${JKBENCH:-jkbench} run --methods "$rows" --task "$task" --split validation --seeds 300-307 --leaderboard studies/teaching --jobs 2
done
python studies/teaching/properties.py
python studies/teaching/report.py > studies/teaching/README.md
