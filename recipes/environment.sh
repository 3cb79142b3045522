# Finds or makes the Python that everything here runs with. Sourced by every run.sh and by tests/run.sh.
#
# Leaves the shell in the repository's root and `python` set. The first call makes .venv there, with s2i and
# its dependencies (some minutes, network); later calls only check it (well under a second). An interrupted
# .venv is made again; one from another setup.py or another folder is brought up to date.
#
#   S2I_PYTHON=PATH   use this Python (3.10 to 3.12, with setup.py's dependencies) and make nothing
#   PIP_...           pip's own variables apply: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
#                     fetches the smaller torch without CUDA

environment_error() {
    printf 's2i: error: %s\n' "$*" >&2
    exit 2
}

# suitable PYTHON: it runs, and is one of the versions that setup.py allows
suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1
}

# prints the first suitable Python of the usual names
find_python() {
    local name seen=""
    for name in python3.12 python3.11 python3.10 python3 python; do
        command -v "$name" >/dev/null || continue
        if suitable "$name" && "$name" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            command -v "$name"
            return
        fi
        seen="$seen $name ($("$name" --version 2>&1 | head -n 1))"
    done
    environment_error "expected Python 3.10, 3.11 or 3.12 with its venv module, found${seen:- none}:" \
        "install one of them (Debian: python3 and python3-venv), or set S2I_PYTHON"
}

environment_stamp() {
    printf '%s %s\n' "$(cksum <setup.py)" "$PWD"
}

environment_ready() {
    [ ! -e .venv/s2i.unfinished ] &&
        [ "$(cat .venv/s2i.stamp 2>/dev/null)" = "$(environment_stamp)" ] &&
        suitable .venv/bin/python
}

# Empties a .venv that this file made, or began to make; refuses another.
clear_environment() {
    local inside
    if [ -e .venv ] && [ ! -e .venv/s2i.unfinished ] && [ ! -e .venv/s2i.stamp ]; then
        environment_error "expected no .venv in $PWD, or one that s2i made, found another, without pip or a Python" \
            "of 3.10 to 3.12: move it away, or set S2I_PYTHON"
    fi
    mkdir -p .venv && : >.venv/s2i.unfinished # first and last: a kill at any moment is recognised
    for inside in .venv/* .venv/.[!.]*; do
        [ "$inside" = .venv/s2i.unfinished ] || rm -rf "$inside"
    done
}

make_environment() {
    local base
    environment_ready && return # somebody else has made it meanwhile
    if [ -e .venv/s2i.unfinished ] || ! suitable .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1
    then
        base="$(find_python)" || exit 2
        clear_environment
        printf 's2i: making .venv with %s (%s)\n' "$base" "$("$base" --version)" >&2
        "$base" -m venv .venv || environment_error "$base could not make .venv in $PWD: see above"
    fi
    printf 's2i: installing s2i and what it needs into .venv: the first time this takes some minutes\n' >&2
    : >.venv/s2i.unfinished
    rm -f .venv/s2i.stamp
    .venv/bin/python -m pip install --disable-pip-version-check --editable '.[dev]' >&2 ||
        environment_error "pip could not install s2i (see above): check the network and the disk, and run this again"
    environment_stamp >.venv/s2i.stamp
    rm -f .venv/s2i.unfinished
    printf 's2i: .venv is ready\n' >&2
}

if [ -n "${S2I_PYTHON:-}" ]; then
    python="$(command -v -- "$S2I_PYTHON")" || environment_error "expected a Python at S2I_PYTHON=$S2I_PYTHON, found none"
    case "$python" in
        /*) ;;
        *) python="$PWD/$python" ;;
    esac
    suitable "$python" || environment_error "expected Python 3.10 to 3.12 at S2I_PYTHON=$S2I_PYTHON," \
        "found $("$python" --version 2>&1 | head -n 1)"
    "$python" -c 'import importlib.util as u, sys; sys.exit(not all(map(u.find_spec, sys.argv[1:])))' \
        torch torchaudio torchvision librosa omegaconf accelerate ||
        environment_error "S2I_PYTHON=$S2I_PYTHON lacks what setup.py names: run $python -m pip install -e ."
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit 2
else
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit 2
    python=.venv/bin/python
    if ! environment_ready; then
        if command -v flock >/dev/null; then # two first calls at once: the second waits
            (flock 9 && make_environment) 9>.venv.lock || exit 2
        else
            (make_environment) || exit 2
        fi
    fi
fi
