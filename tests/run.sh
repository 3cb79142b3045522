#!/usr/bin/env bash
# Makes the environment where there is none and runs the tests; arguments go to pytest.
set -eu
source "$(dirname -- "${BASH_SOURCE[0]}")/../recipes/environment.sh"
exec "$python" -m pytest "$@"
