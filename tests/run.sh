#!/usr/bin/env bash
# Makes the environment where there is none and runs the tests, a process a core, one thread each. Arguments go to
# pytest, in one process unless they say otherwise. Each process takes a file at a time, in the order of tests/conftest.py.
set -eu
source "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/environment.sh"
if [ $# -eq 0 ]; then
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
    set -- --numprocesses "$("$python" -c 'from s2i.processes import cores; print(cores())')" --dist loadfile \
        --no-loadscope-reorder
fi
exec "$python" -m pytest "$@"
