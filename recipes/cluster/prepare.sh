#!/usr/bin/env bash
# Submits the preparation of a data set to SLURM: its captions are spoken and its images packed in shards, a job
# each, and joined after them. ROOT, on a file system that all nodes share, holds manifest.jsonl and what it names.
#
#     bash recipes/cluster/prepare.sh SHARDS CONFIG ROOT PLAN
#     bash recipes/cluster/prepare.sh 8 recipes/cub/conf/s2igan.yaml /shared/cub recipes/cub/voices.yaml
set -euo pipefail
if [ $# -ne 4 ] || ! [[ "$1" =~ ^[1-9][0-9]{0,3}$ ]]; then
    echo "s2i: error: expected SHARDS CONFIG ROOT PLAN, found '$*': see the first lines of $0" >&2
    exit 2
fi
shards=$1 && shift
script="$(dirname -- "${BASH_SOURCE[0]}")/prepare.sbatch"

before=()
for part in speak pack; do
    made="$(sbatch --parsable --array "1-$shards" ${before[@]+"${before[@]}"} "$script" "$part" "$@")"
    joined="$(sbatch --parsable --dependency "afterok:$made" "$script" "$part" "$@")"
    before=(--dependency "afterok:$joined")
    echo "$part: jobs $made (shards) and $joined"
done
