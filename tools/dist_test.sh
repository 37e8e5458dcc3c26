#!/usr/bin/env bash
# Evaluate in several processes, one for each GPU (on the CPU where there is none):
#   tools/dist_test.sh CONFIG CHECKPOINT NPROC [options of tools/test.py]
# On several machines: NNODES, NODE_RANK, MASTER_ADDR and PORT in the environment of each.
set -euo pipefail

if (($# < 3)); then
    echo "usage: $0 CONFIG CHECKPOINT NPROC [options of tools/test.py]" >&2
    exit 2
fi
config=$1 checkpoint=$2 nproc=$3
shift 3
exec bash "$(dirname "${BASH_SOURCE[0]}")/launch.sh" "$nproc" test.py "$config" "$checkpoint" "$@"
