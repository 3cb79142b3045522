#!/usr/bin/env bash
# Fine-tuning: what run.sh has trained from speech goes on in other voices, those of --voices; by default all that apt
# and pip give, Piper's among them, which voices/best.yaml keeps from training.
# `fine_tune.sh --help` has the options, `--list` the recipe stages; a killed call continues where it stopped.
set -euo pipefail
last_stage=6
default_preset=best
usual_voices="voices/all.yaml"
source "$(dirname -- "${BASH_SOURCE[0]}")/../stages.sh"
begin "$@"
source "$folder/presets.sh"
if [ "$generator_training" != train-gan ] || [ -z "$matches_encoders" ] || [ -n "$first_stage" ]; then
    usage_error "expected a preset of matched encoders and one training of a generator, found '$preset': train it anew"
fi

voices=${voices:-$folder/voices/all.yaml}
name="$(basename -- "$voices" .yaml)"
data=(data.root="$root" data.manifest="$root/spoken-$name.jsonl" data.pack="$root/pack-$name")
earlier="$folder/exp/$exp" # the runs of run.sh
exp="$exp-$name"
runs="$folder/exp/$exp"

# A quarter of the preset's steps for the encoder and a sixteenth for the generator, which reads the tuned encoder's
# embeddings as well from the start; read as training reads them. A dry run before the environment is made can't.
matching_steps="matching.steps/4" gan_steps="gan.steps/16"
if [ -z "$list" ] && { [ -z "$dry_run" ] || command -v "$python" >/dev/null; }; then
    configuration="$("$python" -m s2i show-config --config "$config" ${overrides[@]+"${overrides[@]}"})"
    read -r matching_steps gan_steps < <("$python" -c 'import sys, yaml; config = yaml.safe_load(sys.argv[1])
print(*(-(-config[name]["steps"] // part) for name, part in (("matching", 4), ("gan", 16))))' "$configuration")
fi
settings=(
    --config "$config" "${data[@]}" classifier.pack="$root/classifier/pack" evaluation.classifier="$earlier-classifier"
    # a fifth of the rates, which fall from the first step on
    matching.optimiser.lr=1e-3 gan.{generator,discriminator,relation}.lr=2e-4
    {matching.optimiser,gan.generator,gan.discriminator,gan.relation}.schedule.start=0
    ${overrides[@]+"${overrides[@]}"}
    modality=speech matching.steps="$matching_steps" gan.steps="$gan_steps" gan.grow=[]
)

if stage 1 speak "speak the captions in these voices"; then
    run "$python" -m data_prep.synthesize_speech --manifest "$root/manifest.jsonl" --root "$root" \
        --output "$root/spoken-$name.jsonl" --plan "$voices"
fi

if stage 2 pack "check the data and pack it for training"; then
    run "$python" -m data_prep.check "$root/spoken-$name.jsonl" --root "$root"
    run "$python" -m data_prep.pack --config "$config" "${data[@]}" ${overrides[@]+"${overrides[@]}"}
fi

if stage 3 encoder "match the speech encoder further"; then
    run "$python" -m s2i train-encoder "${settings[@]}" start_from="$earlier-speech-encoder" \
        run="$runs-speech-encoder"
fi

if stage 4 generator "train the generator further, from that encoder"; then
    run "$python" -m s2i train-gan "${settings[@]}" start_from="$earlier-speech-gan" \
        gan.encoder="$runs-speech-encoder" run="$runs-speech-gan"
fi

if stage 5 evaluate "evaluate it on the test classes"; then
    run "$python" -m s2i evaluate "$runs-speech-gan"
fi

if stage 6 export "write one model folder that generates from speech, and from text as before"; then
    run "$python" -m s2i export "$runs-speech-gan" "$earlier-text-gan" "$runs-model" --bits 8
fi

finish
