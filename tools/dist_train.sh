#!/usr/bin/env bash
# Train in several processes, one for each GPU (on the CPU where there is none):
#   tools/dist_train.sh CONFIG NPROC [options of tools/train.py]
# On several machines, in the environment of each: NNODES and RDZV_ENDPOINT (HOST:PORT, one of them),
# with MAX_RESTARTS where a lost machine shall not end it; or NNODES, NODE_RANK, MASTER_ADDR and PORT.
set -euo pipefail

if (($# < 2)); then
    echo "usage: $0 CONFIG NPROC [options of tools/train.py]" >&2
    exit 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
start "$2" train.py "$1" "${@:3}"
