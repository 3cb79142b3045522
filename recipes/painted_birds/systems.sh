#!/usr/bin/env bash
# Published systems and ours, at one small size and one budget of generator steps, in one table.
# `systems.sh --help` has the options, `--list` the recipe stages; a killed call continues where it stopped.
set -euo pipefail
last_stage=6
default_preset=systems
source "$(dirname -- "${BASH_SOURCE[0]}")/../stages.sh"
begin "$@"

root=${root:-$folder/data/birds} # as run.sh makes and packs them
runs="$folder/exp/$exp"

# The budget, read as training reads it; a dry run before the environment is made can't, and prints its name.
steps="gan.steps" half="gan.steps/2"
if [ -z "$list" ] && { [ -z "$dry_run" ] || command -v "$python" >/dev/null; }; then
    configuration="$("$python" -m s2i show-config --config "$config" ${overrides[@]+"${overrides[@]}"})"
    steps="$("$python" -c 'import sys, yaml; print(yaml.safe_load(sys.argv[1])["gan"]["steps"])' "$configuration")"
    half=$(((steps + 1) / 2))
fi

# systems COMMAND: calls COMMAND with each row's preset, the encoder that it reads, and a seed other than 0.
# Encoders: `matched`, which all of these share; `own`, trained with the preset's own losses; `none`, which learns
# through the generator. A further system is a further line, and its preset.
systems() {
    "$1" s2igan matched
    "$1" li2020 own
    "$1" attngan matched
    "$1" attngan4 matched
    "$1" stackgan_v2 matched
    "$1" stackgan matched
    "$1" gan_int_cls matched
    "$1" wav2pix none
    "$1" deep_cross_modal own
    "$1" deep_cross_modal_random none
    "$1" deep_cross_modal_autoencoded own
    "$1" deep_cross_modal_speech none
    "$1" cmcgan none
    "$1" speech2face matched
    "$1" default matched
    "$1" s2igan matched 1
    "$1" attngan matched 1
    "$1" default matched 1
}

# pack_of PRESET: prints the pack that it reads
pack_of() {
    case "$1" in
        wav2pix) printf '%s\n' pack-waveform ;;
        cmcgan) printf '%s\n' pack-log-mel ;;
        *) printf '%s\n' pack ;;
    esac
}

# set_settings PRESET: sets `settings` (array: the configuration of its trainings)
set_settings() {
    local pack
    pack="$(pack_of "$1")"
    settings=(
        --config "$folder/conf/$1.yaml" data.root="$root" data.manifest="$root/spoken.jsonl" data.pack="$root/$pack"
        classifier.pack="$root/classifier/pack" evaluation.classifier="$runs-classifier"
        evaluation.r_precision_encoder="$runs-r-precision-encoder-$pack"
        evaluation.speech_classifier="$runs-speech-classifier" ${overrides[@]+"${overrides[@]}"}
    )
}

run_of() { printf '%s\n' "$runs-$1${3:+-seed-$3}"; }

train_system() {
    local output from=() seed=() budget=$steps
    output="$(run_of "$@")"
    seed=(${3:+seed="$3"})
    set_settings "$1"
    case "$2" in
        matched) from=(gan.encoder="$runs-encoder") ;;
        own)
            run "$python" -m s2i train-encoder "${settings[@]}" run="$runs-$1-encoder"
            from=(gan.encoder="$runs-$1-encoder")
            ;;
    esac
    if grep -q '^regression:' "$folder/conf/$1.yaml"; then
        run "$python" -m s2i train-regression "${settings[@]}" ${seed[@]+"${seed[@]}"} \
            regression.image_network="$runs-encoder" regression.decoder_steps="$half" regression.steps="$half" \
            run="$output"
        return
    fi
    if grep -q '^cross_modal:' "$folder/conf/$1.yaml"; then
        run "$python" -m s2i train-cross-modal "${settings[@]}" ${seed[@]+"${seed[@]}"} \
            cross_modal.steps="$budget" run="$output"
        return
    fi
    if [ -f "$folder/conf/${1}_stage1.yaml" ]; then
        budget=$half
        run "$python" -m s2i train-gan --config "$folder/conf/${1}_stage1.yaml" "${settings[@]:2}" \
            ${seed[@]+"${seed[@]}"} "${from[@]}" gan.steps="$budget" run="$output-stage1"
        from+=(gan.first_stage="$output-stage1")
    fi
    run "$python" -m s2i train-gan "${settings[@]}" ${seed[@]+"${seed[@]}"} ${from[@]+"${from[@]}"} \
        gan.steps="$budget" run="$output"
}

start_system() { beside train_system "$@"; }
note_system() { trained+=("$(run_of "$@")"); }

# One network for all systems, trained for each pack anew, since a run is measured on its own pack alone: text and
# images are the same in all of them, and so is all but `audio`.
train_r_precision_encoder() {
    local audio=()
    set_settings "$1"
    case "$(pack_of "$1")" in
        pack-waveform) audio=(audio.front_end=waveform audio.sample_rate=8000 audio.cmvn=false) ;;
        pack-log-mel) audio=(audio.cmvn=false) ;;
    esac
    run "$python" -m s2i train-encoder --config "$config" "${settings[@]:2}" ${audio[@]+"${audio[@]}"} \
        modality=text seed=100 run="$runs-r-precision-encoder-$(pack_of "$1")"
}

if stage 1 data "draw the birds and synthesise their captions, unless run.sh has"; then
    run bash "$folder/run.sh" --root "$root" ${voices:+--voices "$voices"} --stop-stage 2
fi

if stage 2 pack "pack them as log-mels, normalised and not, and as waveforms, and the classifier's birds"; then
    for one in systems wav2pix cmcgan; do
        set_settings "$one"
        run "$python" -m data_prep.pack "${settings[@]}"
    done
    set_settings systems
    run "$python" -m data_prep.pack --splits train val "${settings[@]}" data.root="$root/classifier" \
        data.manifest="$root/classifier/manifest.jsonl" data.pack="$root/classifier/pack"
fi

if stage 3 classifier "train the classifiers and the R-precision encoders, which only score"; then
    set_settings systems
    together run "$python" -m s2i train-classifier "${settings[@]}" run="$runs-classifier" \
        and train_r_precision_encoder systems
    train_r_precision_encoder wav2pix
    train_r_precision_encoder cmcgan
    set_settings deep_cross_modal_speech
    run "$python" -m s2i train-speech-classifier "${settings[@]}" run="$runs-speech-classifier"
fi

if stage 4 encoder "match the speech encoder that most systems share"; then
    set_settings systems
    run "$python" -m s2i train-encoder "${settings[@]}" run="$runs-encoder"
fi

if stage 5 systems "train every system"; then
    systems start_system
    settle
fi

if stage 6 table "measure every system on the same captions, in one table and page"; then
    trained=()
    systems note_system
    run "$python" -m s2i systems "${trained[@]}" --published "$folder/published_systems.json" \
        --output "$runs-report"
fi

finish
