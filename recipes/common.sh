# Sourced by the recipes for a corpus on disk, once `out` and `configs` (the folder of their YAML) are set.
# shellcheck shell=bash disable=SC2154
seed=${SEED:-1}
processes=${PROCESSES:-1}
read -ra more <<< "${SETTINGS:-}"

list() { local all; all=$(paste -sd, -); echo "[$all]"; }
prepare() {  # FOLDER CORPUS options...
    local folder=$1; shift
    [ ! -e "$folder/done" ] || return 0
    speechx data prepare "$@" -o "$folder" > /dev/null
    touch "$folder/done"
}
train() {  # FOLDER COMMAND CONFIG settings...
    local folder=$1 command=$2 config=$3 run="speechx" resume=""; shift 3
    [ ! -e "$folder/done" ] || return 0
    [ "$processes" -eq 1 ] || run="torchrun --nproc-per-node $processes -m speechx"
    ! compgen -G "$folder/state/step_*" > /dev/null || resume=--resume
    $run "$command" "$configs/$config.yaml" out="$folder" "$@" ${more[@]+"${more[@]}"} $resume
    touch "$folder/done"
}
score() {  # NAME manifests...
    local name=$1; shift
    [ -e "$out/$name.json" ] || speechx evaluate --model "$out/$name/best" -o "$out/$name.json" --manifest "$@"
}
sounds() {  # NUMBER manifests...: the first recordings that each lists
    local number=$1 manifest; shift
    for manifest in "$@"; do
        head -n "$number" "$manifest" | sed "s|.*\"audio\": \"\([^\"]*\)\".*|$(dirname "$manifest")/\1|"
    done
}
