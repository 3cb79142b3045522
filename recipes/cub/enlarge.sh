#!/usr/bin/env bash
# Twice the size: the generators that run.sh has trained go on with one stage more, then with a matching loss beside,
# then before a network of features that sees their images enlarged, and last beside discriminators of the images themselves.
# `enlarge.sh --help` has the options, `--list` the recipe stages; a killed call continues where it stopped.
set -euo pipefail
last_stage=8
default_preset=small
source "$(dirname -- "${BASH_SOURCE[0]}")/../stages.sh"
begin "$@"
[ -z "$root$voices" ] || usage_error "expected no --root and no --voices, found one: it reads what run.sh has made, leave it out"
source "$folder/presets.sh"

set_paths "$work" "$pack" "$pack"
earlier="$runs" # of run.sh
exp="$exp-enlarged"
runs="$folder/exp/$exp"

# What is derived from the preset: `small` has 3 stages, 6,000 steps and an image encoder at 224 px, which is matched
# for 1,600 steps; its network of features sees images of 128 px. A dry run before the environment is made can't.
stages="generator.stages+1" gan_steps="gan.steps/4" input_size="image_encoder.input_size/2" matching_steps="matching.steps*5/8"
feature_size="gan.feature_input_size*3/2" sharpening_steps="gan.steps*5/12" refining_steps="gan.steps*11/30"
if [ -z "$list" ] && { [ -z "$dry_run" ] || command -v "$python" >/dev/null; }; then
    configuration="$("$python" -m s2i show-config --config "$config" ${overrides[@]+"${overrides[@]}"})"
    numbers="$("$python" -c 'import sys, yaml
config = yaml.safe_load(sys.argv[1])
generator, side, steps = config["generator"], config["data"]["packed_size"], config["gan"]["steps"]
enlarged = generator["base_size"] * 2 ** generator["stages"]
print(config["discriminator"]["kind"] if enlarged <= side else f"packed_size={side}", generator["stages"] + 1,
      -(-steps // 4), config["image_encoder"]["input_size"] // 2, config["matching"]["steps"] * 5 // 8,
      (config["gan"]["feature_input_size"] or enlarged) * 3 // 2, -(-steps * 5 // 12), -(-steps * 11 // 30))' "$configuration")"
    read -r kind stages gan_steps input_size matching_steps feature_size sharpening_steps refining_steps <<<"$numbers"
    if [ "$kind" != projected ]; then
        usage_error "expected a preset with discriminator.kind=projected and images packed at twice the size that it" \
            "generates, such as small, found '$preset' with $kind: take another"
    fi
fi
derived=(gan.steps="$gan_steps") # in place of the caller's

# go_on MODALITY RUN FURTHER_RUN SETTING...: with an adversary from the first step on; the caller's settings come after
go_on() {
    run "$python" -m s2i train-gan --config "$config" gan.adversarial_start=0 gan.adversarial_ramp=0.1 \
        gan.generator.lr=5e-4 gan.{generator,discriminator}.schedule.start=0.2 "${@:4}" "${settings[@]:2}" modality="$1" \
        gan.encoder="$earlier-$1-encoder" start_from="$2" run="$3" generator.stages="$stages" "${derived[@]}"
}

# match MODALITY: at half the size of images, at which the image encoder is a quarter of the work
match() {
    run "$python" -m s2i train-encoder "${settings[@]}" modality="$1" image_encoder.input_size="$input_size" \
        matching.steps="$matching_steps" run="$runs-$1-encoder"
}

# with_matching_loss MODALITY
with_matching_loss() {
    go_on "$1" "$runs-$1-gan-unmatched" "$runs-$1-gan-matched" gan.matching_weight=0.5 \
        gan.matching_model="$runs-$1-encoder"
}

# sharpen MODALITY: what looks through the network of features starts anew, for which the generator waits
sharpen() {
    local derived=(gan.steps="$sharpening_steps" gan.feature_input_size="$feature_size")
    go_on "$1" "$runs-$1-gan-matched" "$runs-$1-gan-sharpened" gan.generator_start=0.08 generator.guidance=2
}

# refine MODALITY: all discriminators start anew, for which the generator waits
refine() {
    local derived=(gan.steps="$refining_steps" gan.feature_input_size="$feature_size")
    go_on "$1" "$runs-$1-gan-sharpened" "$runs-$1-gan" gan.generator_start=0.05 generator.guidance=2 \
        discriminator.plain_stages="$stages" gan.adversarial_ratio=1.5 gan.matching_weight=0.25 \
        gan.matching_model="$runs-$1-encoder"
}

if stage 1 enlarge "train both generators further, with a stage for twice the size"; then
    for side in speech text; do
        checkpoint="$earlier-$side-gan/checkpoints/last.pt"
        if [ -z "$dry_run" ] && ! [ -e "$checkpoint" ] && ! [ -e "$runs-$side-gan-unmatched/checkpoints/last.pt" ]; then
            usage_error "expected the generators of run.sh, found none in $checkpoint: call $folder/run.sh first, with the" \
                "same --preset and --exp"
        fi
    done
    together go_on speech "$earlier-speech-gan" "$runs-speech-gan-unmatched" \
        and go_on text "$earlier-text-gan" "$runs-text-gan-unmatched"
fi

if stage 2 encoders "match encoders for the matching loss, of smaller images"; then
    run "$python" -m data_prep.feature_cache "${settings[@]}" image_encoder.input_size="$input_size"
    together match speech and match text
fi

if stage 3 generators "train both generators further, with the matching loss"; then
    together with_matching_loss speech and with_matching_loss text
fi

if stage 4 sharpen "train both generators further, before a network of features that sees images enlarged"; then
    together sharpen speech and sharpen text
fi

if stage 5 refine "train both generators further, beside discriminators of the images themselves"; then
    together refine speech and refine text
fi

evaluate_compare_export 6

finish
