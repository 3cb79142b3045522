# The data of each preset, for run.sh and enlarge.sh: sets root where it wasn't given, work (the folder of manifests, clips
# and packs), pack, part (array: how much of the data is read) and r_precision_encoder (array: its own settings).
#
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
