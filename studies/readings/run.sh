#!/usr/bin/env bash
# The readings, on validation images. A teacher takes minutes to half an hour on two cores, a trial minutes (at five
# images per class a quarter of an hour with the Jacobian). What is there is not run again.
set -euo pipefail
jkbench=${JKBENCH:-jkbench}
run() {
    local task=$1 shots=$2 methods=$3
    $jkbench run --task studies/readings/tasks/cifar100-"$task".toml --split validation --shots "$shots" \
        --seeds 100-100 --leaderboard studies/readings --methods "$methods"
}
# The teachers of the two tables that stand in for the paper's, so that nobody's readings have others.
$jkbench teacher import --task cifar100-fewshot-short --leaderboard studies/readings \
    leaderboard/teachers/teacher-3e847079e4481c84.safetensors
$jkbench teacher import --task cifar100-fewshot-early --leaderboard studies/readings \
    leaderboard/teachers/teacher-64974b7937a69d71.safetensors
run teacher-12 1 "scratch,distill"
run teacher-4 1 "distill,jacobian,jacobian[jac=100]"
run teacher-augmented 1 "distill,jacobian,jacobian[jac=100],jacobian[jac=1000],jacobian[jac=100,normalise=true]"
run batch-16 1 "distill"
run teacher-4-batch-128 1 "distill,jacobian[jac=100]"
run teacher-4 5 "scratch,distill,distill[act=0.01],jacobian,jacobian[jac=100],jacobian[act=0],jacobian[act=0.01]"
run teacher-12 5 "distill,jacobian[jac=100]"
python studies/readings/report.py > studies/readings/README.md
