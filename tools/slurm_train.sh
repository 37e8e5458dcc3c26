#!/usr/bin/env bash
# Train on a cluster with Slurm:
#   [GPUS=8 GPUS_PER_NODE=8 CPUS_PER_TASK=5 SRUN_ARGS=…] tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options]
# The options are those of tools/train.py. GRES= is for machines without GPUs, CHECK=0 for data that
# only the machines of the partition see.
set -euo pipefail

if (($# < 4)); then
    echo "usage: $0 PARTITION JOB_NAME CONFIG WORK_DIR [options of tools/train.py]" >&2
    exit 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
on_slurm "$1" "$2" train.py "$3" --work-dir "$4" "${@:5}"
