#!/usr/bin/env bash
# Evaluate in several processes, one for each GPU (on the CPU where there is none):
#   tools/dist_test.sh CONFIG CHECKPOINT NPROC [options of tools/test.py]
# On several machines: the same variables as for tools/dist_train.sh.
set -euo pipefail

if (($# < 3)); then
    echo "usage: $0 CONFIG CHECKPOINT NPROC [options of tools/test.py]" >&2
    exit 2
fi
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
start "$3" test.py "$1" "$2" "${@:4}"
