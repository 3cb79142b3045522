#!/usr/bin/env bash
# The benchmark: every part against its plain form, in one table. Options: --help; README.md beside this file.
set -euo pipefail
source "$(dirname -- "${BASH_SOURCE[0]}")/../environment.sh"
exec "$python" -m tests.benchmarks.suite --output recipes/benchmark/exp "$@"
