#!/usr/bin/env bash
# What dist_train.sh and dist_test.sh share: tools/launch.sh NPROC TOOL.py [arguments of the tool]
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
nproc=$1 tool=$2
shift 2
if ! [[ $nproc =~ ^[1-9][0-9]*$ ]]; then
    echo "error: the number of processes must be 1 or more, not '$nproc'" >&2
    exit 2
fi

# PYTHON names the interpreter; otherwise an active environment wins over the one that `make` creates.
if [[ -z ${PYTHON:-} ]]; then
    PYTHON=python3
    if [[ -z ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} && -x $tools/../.venv/bin/python ]]; then
        PYTHON=$tools/../.venv/bin/python
    fi
fi

# What is missing or wrong is said once, by one process, before the others start.
"$PYTHON" "$tools/$tool" "$@" --check-only

# On one machine torchrun finds a free port itself, so that two trainings can run side by side.
where=(--standalone)
if [[ ${NNODES:-1} != 1 || -n ${PORT:-} ]]; then
    where=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
fi
exec "$PYTHON" -m torch.distributed.run "${where[@]}" --nproc_per_node="$nproc" \
    "$tools/$tool" "$@" --launcher pytorch --no-data-checks
