#!/usr/bin/env bash
# A training on several machines without a scheduler: run this on each of them, with the same words.
#
#     bash recipes/cluster/node.sh MACHINES HEAD:PORT PROCESSES train-gan --config FILE [key=value ...]
#     bash recipes/cluster/node.sh 2 gpu1:29500 8 train-gan --config recipes/cub/conf/s2igan.yaml run=... ...
#
# HEAD is one of the machines, PORT a free port of it; PROCESSES of each machine, one a GPU. The repository, the
# pack and the run's folder lie under the same paths on all of them; the first process writes.
set -euo pipefail
if [ $# -lt 4 ] || ! [[ "$1" =~ ^[1-9][0-9]*$ && "$2" =~ ^.+:[0-9]+$ && "$3" =~ ^[1-9][0-9]*$ ]]; then
    echo "s2i: error: expected MACHINES HEAD:PORT PROCESSES train-..., found '$*': see the first lines of $0" >&2
    exit 2
fi
machines=$1 head=$2 processes=$3 && shift 3
source "$(dirname -- "${BASH_SOURCE[0]}")/../environment.sh"
exec "$python" -m torch.distributed.run --nnodes "$machines" --nproc-per-node "$processes" \
    --rdzv-id s2i --rdzv-backend c10d --rdzv-endpoint "$head" -m s2i "$@"
