#!/usr/bin/env bash
# Birds that the project draws and speaks itself: from nothing to a comparison of speech and text.
# `run.sh --help` has the options, `run.sh --list` the recipe stages.
set -euo pipefail
last_stage=9
source "$(dirname -- "${BASH_SOURCE[0]}")/../stages.sh"
begin "$@"

# The drawn data of a preset; presets that draw alike share them.
case "$preset" in
    smoke)
        birds=(--train-species 12 --val-species 4 --test-species 4 --train-pictures 6 --val-pictures 4 --test-pictures 4)
        judge_birds=(--independent 256)
        root=${root:-$folder/data/smoke}
        ;;
    best) # the same species, and the same test pictures, from twice the training pictures
        birds=(--train-pictures 10)
        judge_birds=(--independent 5000)
        root=${root:-$folder/data/more}
        ;;
    *)
        birds=()
        judge_birds=(--independent 5000)
        root=${root:-$folder/data/birds}
        ;;
esac

# Where everything lies, as every command below that reads a configuration is told.
runs="$folder/exp/$exp"
judge_root="$root/judge"
data=(data.root="$root" data.manifest="$root/spoken.jsonl" data.pack="$root/pack")
settings=(
    --config "$config" "${data[@]}" judge.pack="$judge_root/pack" evaluation.judge="$runs-judge"
    evaluation.scorer="$runs-scorer"
    ${overrides[@]+"${overrides[@]}"}
)

if stage 1 draw "draw the birds, and other ones for the judge"; then
    run "$python" -m data_prep.painted_birds --output "$root" ${birds[@]+"${birds[@]}"}
    run "$python" -m data_prep.painted_birds --output "$judge_root" --seed 1 "${judge_birds[@]}"
fi

if stage 2 speak "speak the captions"; then
    run "$python" -m data_prep.synthesize_speech --manifest "$root/manifest.jsonl" --root "$root" \
        --output "$root/spoken.jsonl"
fi

if stage 3 pack "check both data sets and pack them for training"; then
    run "$python" -m data_prep.check "$root/spoken.jsonl" --root "$root"
    run "$python" -m data_prep.check "$judge_root/manifest.jsonl" --root "$judge_root"
    run "$python" -m data_prep.pack --config "$config" "${data[@]}" ${overrides[@]+"${overrides[@]}"}
    run "$python" -m data_prep.pack --splits train val --config "$config" data.root="$judge_root" \
        data.manifest="$judge_root/manifest.jsonl" data.pack="$judge_root/pack" \
        ${overrides[@]+"${overrides[@]}"}
fi

train_and_compare
finish
