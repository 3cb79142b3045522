#!/usr/bin/env bash
# CUB-200-2011: from photographs to a comparison of speech and text.
# `run.sh --help` has the options, `run.sh --list` the recipe stages.
set -euo pipefail
last_stage=9
default_preset=small
source "$(dirname -- "${BASH_SOURCE[0]}")/../stages.sh"
begin "$@"

source "$folder/presets.sh"

set_paths "$work" "$pack" "$pack"

if stage 1 data "read the photographs' tables and write the manifest"; then
    run mkdir -p "$work"
    run "$python" -m data_prep.cub --root "$root" --output "$work/manifest.jsonl" ${part[@]+"${part[@]}"}
    if [ -e "$work/CUB_200_2011" ] && [ ! -L "$work/CUB_200_2011" ]; then
        usage_error "expected a link or nothing at $work/CUB_200_2011, found something else: move it away"
    fi
    run ln -sfn "$(absolute "$root")/CUB_200_2011" "$work/CUB_200_2011"
fi

if stage 2 speak "speak the captions"; then
    run "$python" -m data_prep.synthesize_speech --manifest "$work/manifest.jsonl" --root "$work" \
        --output "$work/spoken.jsonl" --plan "${voices:-$folder/voices.yaml}"
fi

if stage 3 pack "check the data, pack it for training, cache the features of the frozen image network"; then
    run "$python" -m data_prep.check "$work/spoken.jsonl" --root "$work"
    run "$python" -m data_prep.pack --config "$config" "${data[@]}" ${overrides[@]+"${overrides[@]}"}
    run "$python" -m data_prep.feature_cache --config "$config" "${data[@]}" ${overrides[@]+"${overrides[@]}"}
fi

train_and_compare
finish
