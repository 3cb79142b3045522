# Options, recipe stages and their timing, for recipes/<name>/run.sh and its like:
#
#     last_stage=2                       # and default_preset=NAME where that isn't "default"
#     source "$(dirname -- "${BASH_SOURCE[0]}")/../stages.sh"
#     begin "$@"                         # reads the options, leaves the shell in the repository's root
#     if stage 1 draw "draw the birds"; then
#         run "$python" -m data_prep.painted_birds --output "$root"
#     fi
#     ...
#     train_and_compare                  # where the recipe trains both and compares them
#     finish
#
# A preset NAME whose generator has a first stage (gan.first_stage) finds that one's choices in
# conf/NAME_stage1.yaml; train_and_compare trains it first.
#
# A preset with a section `regression` has its generators trained by train-regression; a recipe whose image network
# is trained from scratch sets image_network_of_encoder=yes, and it is that of the encoders.
#
# Of a preset whose encoders are never matched (encoder_start: random) none is trained before the generator.
#
# finish prints the numbers of the report that a stage has written, if it has set `report` to its folder.
#
# begin sets preset, root, exp (with their defaults), config (the preset's file), folder (the recipe's),
# overrides (array) and python. A recipe may set default_preset before it, and usual_voices, the default of --voices in
# its help. Each stage's seconds go into <folder>/exp/<exp>-report/seconds.json.

usage() {
    local of_preset="the preset's"
    cat <<END
usage: $folder/$script [--preset NAME] [--root DATA] [--voices PLAN] [--stage N] [--stop-stage M] [--list] [--dry-run]
           [--exp NAME] [--processes N] [-- key=value ...]

  --preset NAME     choices in $folder/conf/NAME.yaml (default: ${default_preset:-default})
  --root DATA       folder of the data (default: in $folder/data)
  --voices PLAN     who speaks the captions: a file as in data_prep/README.md (default: ${usual_voices:-$of_preset})
  --stage N         first recipe stage (default: 1)
  --stop-stage M    last recipe stage (default: $last_stage)
  --list            name the recipe stages and end
  --dry-run         print the commands and run none
  --exp NAME        runs are called exp/NAME-... (default: the preset's name)
  --processes N     processes of each training, feature cache and evaluation, one a GPU or some cores (default: 1);
                    trainings that go side by side with one process then follow each other
  -- key=value ...  further changes to the configuration, for every recipe stage that reads one

The first call makes .venv; recipes/environment.sh says how to use a Python of your own instead.
END
}

usage_error() {
    printf 's2i: error: %s: see %s/%s --help\n' "$*" "$folder" "$script" >&2
    exit 2
}

begin() {
    local top
    top="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)"
    folder="recipes/$(basename -- "$(cd -- "$(dirname -- "${BASH_SOURCE[1]}")" && pwd)")"
    script="$(basename -- "${BASH_SOURCE[1]}")"
    preset=${default_preset:-default} root="" voices="" exp="" first=1 last=$last_stage list="" dry_run="" overrides=() stage_name=""
    r_precision_encoder=() report=""
    processes=1 first_stage="" generator_training=train-gan image_network_of_encoder="" matches_encoders=yes
    while [ $# -gt 0 ]; do
        case "$1" in
            --preset | --root | --voices | --exp | --stage | --stop-stage | --processes)
                [ $# -ge 2 ] || usage_error "expected a value after $1, found none"
                [ -n "$2" ] || usage_error "expected a value after $1, found an empty one (is a variable unset?)"
                case "$1" in
                    --preset) preset=$2 ;;
                    --root) root=$2 ;;
                    --voices) voices=$2 ;;
                    --exp) exp=$2 ;;
                    --stage) first=$2 ;;
                    --stop-stage) last=$2 ;;
                    --processes) processes=$2 ;;
                esac
                shift 2
                ;;
            --list) list=yes && shift ;;
            --dry-run) dry_run=yes && shift ;;
            --help | -h) usage && exit 0 ;;
            --) shift && overrides=("$@") && break ;;
            *) usage_error "expected an option, found '$1'" ;;
        esac
    done
    check_stage --stage "$first"
    check_stage --stop-stage "$last"
    [ "$first" -le "$last" ] || usage_error "expected --stop-stage of at least $first, found '$last'"
    [[ "$processes" =~ ^[1-9][0-9]{0,3}$ ]] ||
        usage_error "expected --processes of 1 or more, found '$processes'"
    check_name --preset "$preset"
    exp=${exp:-$preset}
    check_name --exp "$exp"
    local word
    for word in ${overrides[@]+"${overrides[@]}"}; do
        [[ "$word" == ?*=* ]] || usage_error "expected key=value after --, found '$word'"
    done
    local path
    for path in root voices; do
        case "${!path}" in
            "" | /*) ;;
            *) [ "$PWD" -ef "$top" ] || printf -v "$path" '%s' "$PWD/${!path}" ;;
        esac
    done
    config="$folder/conf/$preset.yaml"
    if [ ! -f "$top/$config" ]; then
        usage_error "expected a preset ($(cd -- "$top/$folder/conf" && echo *.yaml)), found '$preset'"
    fi

    if [ -f "$top/$folder/conf/${preset}_stage1.yaml" ]; then
        first_stage="$folder/conf/${preset}_stage1.yaml"
    fi
    if grep -qE '^cross_modal:|autoencoding_weight' "$top/$config"; then
        usage_error "expected a preset that also reads text, found '$preset', of speech alone: train it with" \
            "recipes/painted_birds/systems.sh, or by hand with s2i train-encoder, train-gan or train-cross-modal"
    fi
    if grep -q '^regression:' "$top/$config"; then generator_training=train-regression; fi
    if grep -q '^  encoder_start: random' "$top/$config"; then matches_encoders=""; fi

    if [ -z "$list" ] && [ -z "$dry_run" ]; then
        source "$top/recipes/environment.sh"
    else
        cd -- "$top"
        python=${S2I_PYTHON:-.venv/bin/python}
    fi
    begun=$SECONDS
}

# absolute PATH: prints it from the root of the file system, whether it exists or not
absolute() {
    case "$1" in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s\n' "$PWD/$1" ;;
    esac
}

check_stage() {
    [[ "$2" =~ ^[0-9]{1,3}$ ]] && [ "$((10#$2))" -ge 1 ] && [ "$((10#$2))" -le "$last_stage" ] ||
        usage_error "expected $1 of 1 to $last_stage, found '$2'"
}

check_name() {
    [[ "$2" =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] ||
        usage_error "expected a name of letters, digits, '.', '_' and '-' after $1, found '$2'"
}

# stage NUMBER NAME DESCRIPTION: ends the stage before; true where this one is to be run
stage() {
    end_stage
    if [ -n "$list" ]; then
        printf '%2d  %-15s  %s\n' "$1" "$2" "$3"
        return 1
    fi
    [ "$1" -ge "$first" ] && [ "$1" -le "$last" ] || return 1
    printf '\n# recipe stage %d, %s: %s\n' "$1" "$2" "$3" >&2
    stage_name=$2 stage_begun=$SECONDS
}

# Records the seconds of a stage. The longest time is kept: a finished stage takes next to none.
end_stage() {
    [ -n "$stage_name" ] && [ -z "$dry_run" ] || return 0
    "$python" - "$folder/exp/$exp-report" "$stage_name" "$((SECONDS - stage_begun))" <<'END'
import json, pathlib, sys
from s2i.files.atomic import write_atomically
from s2i.files.unfinished import sweep

folder, stage, seconds = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
path = folder / "seconds.json"
known = json.loads(path.read_text()) if path.exists() else {}
known[stage] = max(seconds, known.get(stage, 0))
sweep(folder, path.name)
with write_atomically(path) as stream:
    stream.write(json.dumps(known, indent=2) + "\n")
END
    stage_name=""
}

# run COMMAND...: prints it, as a person can copy it into a shell in the repository's root, and runs it; what can
# go on in several processes does, as --processes says
run() {
    local line
    if [ "$processes" -gt 1 ] && [ "${2-}" = -m ]; then
        case "$3 ${4-}" in
            "s2i train-encoder" | "s2i train-gan" | "s2i train-regression" | "s2i train-cross-modal")
                set -- "$1" -m s2i.launch --processes "$processes" "${@:4}"
                ;;
            "data_prep.feature_cache "*) set -- "$1" -m data_prep.feature_cache --processes "$processes" "${@:4}" ;;
            "s2i evaluate") set -- "$@" evaluation.processes="$processes" ;;
        esac
    fi
    line="$(printf '%q ' "$@")"
    if [ -n "$dry_run" ]; then
        printf '%s\n' "${line% }"
    else
        printf '%s\n' "${line% }" >&2
        if [ "$BASH_SUBSHELL" -eq 0 ]; then alone "$@"; else "$@"; fi
    fi
}

# A signal to this shell ends what it has started, too: each is a process group of its own, which gets one TERM, upon
# which a training saves, and is waited for; a second signal ends it at once. `running` has the groups.
running=()
stop_running() {
    local process
    for process in ${running[@]+"${running[@]}"}; do
        kill -TERM -- "-$process" 2>/dev/null || true
    done
    wait
    exit 130
}

# start COMMAND...: in the background, in a process group of its own, which lasts as long as all of it
start() {
    trap stop_running HUP INT TERM
    set -m
    (trap 'exit 130' TERM && "$@") &
    running+=($!)
    set +m
}

# alone COMMAND...: waits for it, with its status
alone() {
    local status=0 others=(${running[@]+"${running[@]}"})
    start "$@"
    wait "$!" || status=$?
    running=(${others[@]+"${others[@]}"})
    return "$status"
}

# cores: prints how many this shell may use; nproc ignores a container's limit
cores() {
    "$python" -c 'import joblib; print(joblib.cpu_count())'
}

# together COMMAND... and COMMAND...: two commands, or functions of the recipe, side by side, each on half of the
# cores: small networks do not keep all cores busy. Each prints its lines; the stage fails if either does. With
# --processes one after the other.
together() {
    local first_command=() status=0
    while [ "$1" != and ]; do
        first_command+=("$1") && shift
    done
    shift
    if [ -n "$dry_run" ] || [ "$processes" -gt 1 ]; then
        "${first_command[@]}"
        "$@"
        return
    fi
    local threads=${OMP_NUM_THREADS:-$(cores)}
    threads=$((threads > 1 ? threads / 2 : 1))
    start on_threads "$threads" "${first_command[@]}"
    start on_threads "$threads" "$@"
    local process
    for process in "${running[@]}"; do
        wait "$process" || status=$?
    done
    running=()
    [ "$status" -eq 0 ] || exit "$status"
}

# on_threads NUMBER COMMAND...: what it says is no terminal's, so its progress is whole lines
on_threads() {
    export OMP_NUM_THREADS=$1
    "${@:2}" 2> >(trap '' HUP INT TERM && exec cat >&2) # which outlives a signal to the group: the last lines count
}

# beside COMMAND...: starts a command, or a function of the recipe, as soon as one of the cores is free, on one
# thread; settle waits for the last of them. One that fails doesn't end the others: settle fails for it. With
# --processes one after the other.
failed=0 room=""
beside() {
    if [ -n "$dry_run" ]; then
        "$@"
        return
    fi
    if [ "$processes" -gt 1 ]; then room=1; fi
    room=${room:-$(cores)}
    until reap && [ "${#running[@]}" -lt "$room" ]; do sleep 1; done
    if [ "$processes" -gt 1 ]; then start "$@"; else start on_threads 1 "$@"; fi
}

reap() {
    local process left=()
    for process in ${running[@]+"${running[@]}"}; do
        if kill -0 "$process" 2>/dev/null; then
            left+=("$process")
        else
            wait "$process" || failed=$?
        fi
    done
    running=(${left[@]+"${left[@]}"})
}

settle() {
    while [ "${#running[@]}" -gt 0 ]; do
        sleep 1
        reap
    done
    [ "$failed" -eq 0 ] || exit "$failed"
}

# set_paths ROOT PACK CLASSIFIER_PACK: sets `runs` (the start of each run's folder), `data` (array: the paths of the
# data) and `settings` (array: the configuration of every training). ROOT holds spoken.jsonl.
set_paths() {
    runs="$folder/exp/$exp"
    data=(data.root="$1" data.manifest="$1/spoken.jsonl" data.pack="$2")
    settings=(
        --config "$config" "${data[@]}" classifier.pack="$3" evaluation.classifier="$runs-classifier"
        evaluation.r_precision_encoder="$runs-r-precision-encoder"
        ${overrides[@]+"${overrides[@]}"}
    )
}

# train_and_compare: stages 4 to 9, from packs to a report and a model, of any recipe that compares speech and
# text, after set_paths. `r_precision_encoder` (array): settings in which the R-precision encoder differs from the
# others, where they look through a pretrained network.
train_and_compare() {
    local speech_first=() text_first=() matched_side_by_side="" classifier_follows=""
    if [ "$generator_training$matches_encoders" = train-ganyes ] || [ -n "$image_network_of_encoder" ]; then
        matched_side_by_side=yes
    fi
    if stage 4 classifier "train the classifier, which is used only to score"; then
        if [ -n "$matched_side_by_side" ] && [ "$last" -gt 4 ]; then
            classifier_follows=yes
            printf '# with stage 5, on the core that the text encoder leaves free; --stage 4 --stop-stage 4 trains it alone\n' >&2
        else
            train_classifier
        fi
    fi

    local speech_from=(gan.encoder="$runs-speech-encoder") text_from=(gan.encoder="$runs-text-encoder")
    if [ -z "$matches_encoders" ]; then
        speech_from=() text_from=() # captions are never matched: the encoder learns through the generator
    fi
    if [ "$generator_training" = train-regression ]; then
        speech_from=() text_from=()
        if [ -n "$image_network_of_encoder" ]; then
            speech_from=(regression.image_network="$runs-speech-encoder")
            text_from=(regression.image_network="$runs-text-encoder")
        fi
    fi

    if stage 5 encoders "match a speech encoder and a text encoder against images, and the R-precision encoder"; then
        if [ -n "$matched_side_by_side" ]; then
            together run "$python" -m s2i train-encoder "${settings[@]}" modality=speech run="$runs-speech-encoder" \
                and match_text_and_train_scorers
        else
            match_for_r_precision
        fi
    fi

    if stage 6 generators "train one generator from speech and one from text"; then
        if [ -n "$first_stage" ]; then
            local first_settings=(--config "$first_stage" "${settings[@]:2}")
            together run "$python" -m s2i train-gan "${first_settings[@]}" modality=speech \
                gan.encoder="$runs-speech-encoder" run="$runs-speech-gan-stage1" \
                and run "$python" -m s2i train-gan "${first_settings[@]}" modality=text \
                gan.encoder="$runs-text-encoder" run="$runs-text-gan-stage1"
            speech_first=(gan.first_stage="$runs-speech-gan-stage1")
            text_first=(gan.first_stage="$runs-text-gan-stage1")
        fi
        together run "$python" -m s2i "$generator_training" "${settings[@]}" modality=speech \
            ${speech_from[@]+"${speech_from[@]}"} ${speech_first[@]+"${speech_first[@]}"} run="$runs-speech-gan" \
            and run "$python" -m s2i "$generator_training" "${settings[@]}" modality=text \
            ${text_from[@]+"${text_from[@]}"} ${text_first[@]+"${text_first[@]}"} run="$runs-text-gan"
    fi

    evaluate_compare_export 7
}

# evaluate_compare_export N: stages N to N + 2, of the generators of `runs`
evaluate_compare_export() {
    if stage "$1" evaluate "evaluate both on the test classes"; then
        together run "$python" -m s2i evaluate "$runs-speech-gan" and run "$python" -m s2i evaluate "$runs-text-gan"
    fi

    if stage "$(($1 + 1))" compare "report both side by side"; then
        run "$python" -m s2i compare "$runs-speech-gan" "$runs-text-gan" --output "$runs-report"
        report="$runs-report"
    fi

    if stage "$(($1 + 2))" export "write one model folder that generates from speech and from text"; then
        run "$python" -m s2i export "$runs-speech-gan" "$runs-text-gan" "$runs-model" --bits 8
    fi
}

# The text encoder, then what is used only to score: beside the speech encoder, whose steps take twice as long.
match_text_and_train_scorers() {
    run "$python" -m s2i train-encoder "${settings[@]}" modality=text run="$runs-text-encoder"
    match_for_r_precision
    if [ -n "$classifier_follows" ]; then train_classifier; fi
}

train_classifier() {
    is_named evaluation.classifier ||
        run "$python" -m s2i train-classifier "${settings[@]}" run="$runs-classifier"
}

match_for_r_precision() {
    is_named evaluation.r_precision_encoder ||
        run "$python" -m s2i train-encoder "${settings[@]}" modality=text seed=100 \
            ${r_precision_encoder[@]+"${r_precision_encoder[@]}"} run="$runs-r-precision-encoder"
}

# is_named KEY: whether the caller of the recipe named a value of this key; none is trained then
is_named() {
    [[ " ${overrides[*]-} " == *" $1="* ]]
}

finish() {
    end_stage
    [ -n "$list$dry_run" ] && return
    printf '\ns2i: recipe stages %d to %d took %d s\n' "$first" "$last" "$((SECONDS - begun))" >&2
    [ -z "$report" ] || "$python" -m s2i.reports.summary "$report"
}
