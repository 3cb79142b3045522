#!/usr/bin/env bash
# Makes the environment where there is none and runs the tests; arguments go to pytest. Without any, where there
# are two cores, all tests run in two processes side by side, one thread each; the second's output comes last.
set -eu
source "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/environment.sh"
if [ $# -gt 0 ] || [ "$("$python" -c 'from s2i.processes import cores; print(cores())')" -lt 2 ]; then
    exec "$python" -m pytest "$@"
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
second=(tests/analysis tests/evaluation tests/recipes tests/reports tests/training) # about half of the time
output="$(mktemp)"
"$python" -m pytest "${second[@]}" >"$output" 2>&1 &
process=$!
trap 'kill "$process" 2>/dev/null || true; rm -f "$output"' EXIT
status=0
"$python" -m pytest tests "${second[@]/#/--ignore=}" || status=$?
wait "$process" || status=$?
cat "$output"
exit "$status"
