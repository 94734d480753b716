#!/usr/bin/env bash
# The same students with six teachers that differ in their seed alone: minutes on two cores.
set -euo pipefail
rows="scratch,$(python studies/teachers/report.py rows)"
for number in 1 2 3 4 5 6; do
    jkbench run --methods "$rows" --task studies/teachers/tasks/digits-teacher-$number.toml --shots 1,10 \
        --seeds 200-205 --leaderboard studies/teachers
done
python studies/teachers/report.py > studies/teachers/README.md
