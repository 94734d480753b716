#!/usr/bin/env bash
# What a submission has to hold: the records and methods that this checkout has beyond BASE.
# usage: benchmarks/submission.sh BASE     (a branch or a commit; the workflow passes the pull request's)
set -euo pipefail
cd "$(dirname "$0")/.."
BASE=${1:?usage: benchmarks/submission.sh BASE}
run() { printf '\n$ jkbench %s\n' "$*"; "${PYTHON:-python3}" -m jkbench "$@"; }

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
start=$(git merge-base "$BASE" HEAD)
git archive "$start" leaderboard | tar -x -C "$before"

# the contract of every method that changed, its leak canary included
git diff --name-only --diff-filter=d "$start" -- 'methods/*.py' 'datasets/*.py' |
  while read -r file; do run check "$file" < /dev/null; done
# the records that BASE lacks: schema, hashes and relations; what their predictions and the images decide
run verify --level rescore --lacking "$before/leaderboard"
# one of them, on the digits, is trained again
run verify --level rerun --sample 1 --task digits-fewshot --lacking "$before/leaderboard"
# every page is what the records give
run leaderboard --check --readme README.md
