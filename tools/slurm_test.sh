#!/usr/bin/env bash
# Evaluate on a cluster with Slurm:
#   [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=…] tools/slurm_test.sh PARTITION JOB_NAME CONFIG CHECKPOINT [options]
# The options are those of tools/test.py. GRES= is for machines without GPUs, CHECK=0 for data that
# only the machines of the partition see.
set -euo pipefail

if (($# < 4)); then
    echo "usage: $0 PARTITION JOB_NAME CONFIG CHECKPOINT [options of tools/test.py]" >&2
    exit 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
on_slurm "$1" "$2" test.py "$3" "$4" "${@:5}"
