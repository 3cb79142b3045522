#!/usr/bin/env bash
# Ablation study: settings that remove one component from conf/ablate.yaml, or vary one key, side by side.
# `ablate.sh --help` has the options, `--list` the recipe stages; a killed call continues where it stopped.
set -euo pipefail
last_stage=6
default_preset=ablate
source "$(dirname -- "${BASH_SOURCE[0]}")/../stages.sh"
begin "$@"

root=${root:-$folder/data/birds} # as run.sh makes them, packed at a smaller size
runs="$folder/exp/$exp"
data=(data.root="$root" data.manifest="$root/spoken.jsonl" data.pack="$root/pack-$preset")
settings=(
    --config "$config" "${data[@]}" classifier.pack="$root/classifier/pack-$preset" evaluation.classifier="$runs-classifier"
    ${overrides[@]+"${overrides[@]}"}
)

# Twice the configured steps, for the generator that is trained from both speech and text. Read as training
# reads them; a dry run before the environment is made can't, and prints what they would be.
twice_the_steps="2*gan.steps"
if [ -z "$list" ] && { [ -z "$dry_run" ] || command -v "$python" >/dev/null; }; then
    configuration="$("$python" -m s2i show-config --config "$config" ${overrides[@]+"${overrides[@]}"})"
    twice_the_steps="$("$python" -c 'import sys, yaml; print(2 * yaml.safe_load(sys.argv[1])["gan"]["steps"])' \
        "$configuration")"
fi

# encoders COMMAND: calls COMMAND with each encoder's name and what it changes.
encoders() {
    "$1" speech
    "$1" text modality=text
    "$1" speech-seed-1 seed=1
    "$1" speech-seed-2 seed=2
    "$1" speech-without-distinctive-loss matching.class_weight=0
    "$1" speech-mean-pooling speech_encoder.pooling=mean
}

# grid COMMAND: calls COMMAND with each setting's name, the encoder that it reads, and what it changes.
# The base with three seeds, so that a difference can be compared with that between seeds.
grid() {
    "$1" base speech
    "$1" base-seed-1 speech-seed-1 seed=1
    "$1" base-seed-2 speech-seed-2 seed=2
    # Encoder never matched with images: the generator gets random encodings, or trains the encoder itself.
    # The matching term of the generator is off too, since there is no trained matching model.
    "$1" untrained-encoder speech gan.encoder_start=random gan.matching_weight=0
    "$1" untrained-encoder-learns speech gan.encoder_start=random gan.matching_weight=0 gan.encoder_lr=1e-3
    "$1" tuned-encoder speech gan.encoder_lr=1e-4
    "$1" without-distinctive-loss speech-without-distinctive-loss matching.class_weight=0
    "$1" mean-pooling speech-mean-pooling speech_encoder.pooling=mean
    "$1" without-attention speech generator.attention=false
    "$1" without-dense-links speech generator.dense=false
    "$1" without-relation-supervisor speech gan.relation_weight=0
    "$1" without-contrast speech gan.contrast_weight=0
    "$1" without-found-noise speech gan.reconstruction_weight=0
    "$1" with-crops-and-flips speech gan.augment=true
    "$1" one-stage speech generator.stages=1 generator.base_size=32 'gan.grow=[]'
    "$1" text text modality=text
    "$1" both speech gan.other_encoder="$runs-text-encoder"
    "$1" both-twice-the-steps speech gan.other_encoder="$runs-text-encoder" gan.steps="$twice_the_steps"
    local value
    for value in 3e-4 2e-3; do
        "$1" "learning-rate-$value" speech gan.generator.lr="$value" gan.discriminator.lr="$value"
    done
    for value in 0 0.1 5; do
        "$1" "matching-weight-$value" speech gan.matching_weight="$value"
    done
    for value in 2 3; do
        "$1" "generator-steps-$value" speech gan.generator_steps="$value"
    done
}

train_encoder() {
    run "$python" -m s2i train-encoder "${settings[@]}" "${@:2}" run="$runs-$1-encoder"
}

train_setting() {
    run "$python" -m s2i train-gan "${settings[@]}" "${@:3}" gan.encoder="$runs-$2-encoder" run="$runs-$1"
}

start_encoder() { beside train_encoder "$@"; }
start_setting() { beside train_setting "$@"; }
note_setting() { trained+=("$runs-$1"); }

if stage 1 data "draw the birds and synthesise their captions, unless run.sh has"; then
    run bash "$folder/run.sh" --root "$root" ${voices:+--voices "$voices"} --stop-stage 2
fi

if stage 2 pack "pack them, and the classifier's, at the size of the grid"; then
    run "$python" -m data_prep.pack --splits train val --config "$config" "${data[@]}" \
        ${overrides[@]+"${overrides[@]}"}
    run "$python" -m data_prep.pack --splits train val --config "$config" data.root="$root/classifier" \
        data.manifest="$root/classifier/manifest.jsonl" data.pack="$root/classifier/pack-$preset" \
        ${overrides[@]+"${overrides[@]}"}
fi

if stage 3 classifier "train the classifier, which only scores"; then
    run "$python" -m s2i train-classifier "${settings[@]}" run="$runs-classifier"
fi

if stage 4 encoders "match captions with images, once for all settings that share an encoder"; then
    encoders start_encoder
    settle
fi

if stage 5 grid "train one generator for each setting"; then
    grid start_setting
    settle
fi

if stage 6 table "evaluate every setting and compare it with the base"; then
    trained=()
    grid note_setting
    run "$python" -m s2i tabulate "${trained[@]}" --published "$folder/published_ablations.json" \
        --output "$runs-report"
fi

finish
