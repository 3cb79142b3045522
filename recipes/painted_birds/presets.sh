# The data of each preset, for run.sh and fine_tune.sh: sets birds and classifier_birds (arrays: how many are drawn),
# root where it wasn't given, and default_voices. Presets with the same data share a folder.
default_voices="$folder/voices/default.yaml"
case "$preset" in
    smoke)
        birds=(--train-species 12 --val-species 4 --test-species 4 --train-images 6 --val-images 4 --test-images 4)
        classifier_birds=(--independent 256)
        root=${root:-$folder/data/smoke}
        ;;
    best) # more species, of three images each; the same validation and test images
        birds=(--train-images 3 --further-species 1120)
        classifier_birds=(--independent 5000)
        root=${root:-$folder/data/wide}
        default_voices="$folder/voices/best.yaml"
        ;;
    *)
        birds=()
        classifier_birds=(--independent 5000)
        root=${root:-$folder/data/birds}
        ;;
esac
