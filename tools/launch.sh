#!/usr/bin/env bash
# What the scripts beside it share: source it. It sets tools and PYTHON, and defines check and start.

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# PYTHON names the interpreter; otherwise an active environment wins over the one that `make` creates.
if [[ -z ${PYTHON:-} ]]; then
    PYTHON=python3
    if [[ -z ${VIRTUAL_ENV:-}${CONDA_PREFIX:-} && -x $tools/../.venv/bin/python ]]; then
        PYTHON=$tools/../.venv/bin/python
    fi
fi

# check TOOL.py [arguments]: what is missing or wrong is said once, before the processes start.
check() {
    "$PYTHON" "$tools/$1" "${@:2}" --check-only
}

# start NPROC TOOL.py [arguments]: so many processes on this machine, by torchrun.
start() {
    local nproc=$1 tool=$2
    shift 2
    if ! [[ $nproc =~ ^[1-9][0-9]*$ ]]; then
        echo "error: the number of processes must be 1 or more, not '$nproc'" >&2
        exit 2
    fi
    check "$tool" "$@"
    # On one machine torchrun finds a free port itself, so that two trainings can run side by side.
    local where=(--standalone)
    if [[ -n ${RDZV_ENDPOINT:-} ]]; then
        where=(--nnodes="${NNODES:-1}" --rdzv_backend=c10d --rdzv_endpoint="$RDZV_ENDPOINT"
            --rdzv_id="${RDZV_ID:-mmdet_dab}" ${LOCAL_ADDR:+--local_addr="$LOCAL_ADDR"})
    elif [[ ${NNODES:-1} != 1 || -n ${PORT:-} ]]; then
        where=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
            --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
    fi
    export PYTHONPATH="$tools/..${PYTHONPATH:+:$PYTHONPATH}"
    exec "$PYTHON" -m mmdet_dab.torchrun "${where[@]}" --max_restarts="${MAX_RESTARTS:-0}" \
        --nproc_per_node="$nproc" "$tools/$tool" "$@" --launcher pytorch --no-data-checks
}

# on_slurm PARTITION JOB_NAME TOOL.py [arguments]: GPUS processes by srun.
on_slurm() {
    local partition=$1 name=$2 tool=$3
    shift 3
    local gpus=${GPUS:-8} per_node=${GPUS_PER_NODE:-8}
    ((per_node <= gpus)) || per_node=$gpus
    local where=(--ntasks="$gpus" --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}")
    # On machines without GPUs, GRES is empty.
    local gres=${GRES-gpu:$per_node}
    [[ -z $gres ]] || where+=(--gres="$gres")
    [[ -z $partition ]] || where+=(--partition="$partition")
    # Where only the machines of the partition see the data: CHECK=0.
    [[ ${CHECK:-1} == 0 ]] || check "$tool" "$@"
    # shellcheck disable=SC2086  # SRUN_ARGS are several words
    exec srun --job-name="$name" "${where[@]}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
        "$PYTHON" -u "$tools/$tool" "$@" --launcher slurm --no-data-checks
}
