#!/usr/bin/env bash
# Painted birds: draws the birds, synthesises their captions, and trains and compares speech and text.
# `run.sh --help` has the options, `run.sh --list` the recipe stages.
set -euo pipefail
last_stage=9
source "$(dirname -- "${BASH_SOURCE[0]}")/../stages.sh"
begin "$@"

source "$folder/presets.sh"

case "$preset" in speech2face) image_network_of_encoder=yes ;; esac # image_encoder.kind=small, trained from scratch

pack=pack
case "$preset" in wav2pix) pack=pack-waveform ;; esac # of the samples themselves
classifier_root="$root/classifier"
set_paths "$root" "$root/$pack" "$classifier_root/$pack"

if stage 1 draw "draw the birds, and other ones for the classifier"; then
    run "$python" -m data_prep.painted_birds --output "$root" ${birds[@]+"${birds[@]}"}
    run "$python" -m data_prep.painted_birds --output "$classifier_root" --seed 1 "${classifier_birds[@]}"
fi

if stage 2 speak "speak the captions"; then
    run "$python" -m data_prep.synthesize_speech --manifest "$root/manifest.jsonl" --root "$root" \
        --output "$root/spoken.jsonl" --plan "${voices:-$default_voices}"
fi

if stage 3 pack "check both data sets and pack them for training"; then
    run "$python" -m data_prep.check "$root/spoken.jsonl" --root "$root"
    run "$python" -m data_prep.check "$classifier_root/manifest.jsonl" --root "$classifier_root"
    run "$python" -m data_prep.pack --config "$config" "${data[@]}" ${overrides[@]+"${overrides[@]}"}
    run "$python" -m data_prep.pack --splits train val --config "$config" data.root="$classifier_root" \
        data.manifest="$classifier_root/manifest.jsonl" data.pack="$classifier_root/$pack" \
        ${overrides[@]+"${overrides[@]}"}
fi

train_and_compare
finish
