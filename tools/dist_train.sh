#!/usr/bin/env bash
# Train in several processes, one for each GPU (on the CPU where there is none):
#   tools/dist_train.sh CONFIG NPROC [options of tools/train.py]
# On several machines: NNODES, NODE_RANK, MASTER_ADDR and PORT in the environment of each.
set -euo pipefail

if (($# < 2)); then
    echo "usage: $0 CONFIG NPROC [options of tools/train.py]" >&2
    exit 2
fi
config=$1 nproc=$2
shift 2
exec bash "$(dirname "${BASH_SOURCE[0]}")/launch.sh" "$nproc" train.py "$config" "$@"
