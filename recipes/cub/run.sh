#!/usr/bin/env bash
# CUB-200-2011: from photographs to a comparison of speech and text.
# `run.sh --help` has the options, `run.sh --list` the recipe stages.
set -euo pipefail
last_stage=9
default_preset=small
source "$(dirname -- "${BASH_SOURCE[0]}")/../stages.sh"
begin "$@"

# --root is the folder around CUB_200_2011; nothing is written there but the download, where it is missing.
# Manifests, clips and packs lie in a folder of the recipe, with a link to the photographs.
root=${root:-$folder/data/cub}
work="$folder/data/work"
part=()
# The R-precision encoder shares no network with what trains generators: its image encoder starts from nothing.
r_precision_encoder=(
    image_encoder.kind=small image_encoder.input_size=64 image_encoder.region_side=0 image_encoder.cached_crops=0
)
case "$preset" in # presets that need the same images and audio share a pack
    smoke) work="$folder/data/smoke" part=(--photographs 3) pack="$work/pack" r_precision_encoder=() ;;
    small | small_s2igan | small_attngan) pack="$work/pack-224" ;;
    small128 | ours) pack="$work/pack-256" ;;
    attngan4) pack="$work/pack-512" ;;
    li2020)
        pack="$work/pack-$preset"
        # Its own losses are those of a student, and here is no teacher.
        r_precision_encoder+=(
            matching.batch_weight=1 matching.joint_weight=0 matching.distance_weight=0 matching.distillation_weight=0
        )
        ;;
    gan_int_cls | stackgan | stackgan_stage1 | deep_cross_modal | deep_cross_modal_random)
        case "$preset" in
            gan_int_cls) pack="$work/pack-224" ;;
            stackgan*) pack="$work/pack-256" ;;
            deep_cross_modal*) pack="$work/pack-deep_cross_modal" ;;
        esac
        r_precision_encoder+=(matching.batch_weight=1 matching.joint_weight=0) # likewise
        ;;
    s2igan | attngan | speech_attngan | stackgan_v2) pack="$work/pack-256" ;;
    *) pack="$work/pack-$preset" ;;
esac

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
