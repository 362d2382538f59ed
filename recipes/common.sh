# Sourced by the recipes for a corpus on disk, once `out` and `configs` (the folder of their YAML) are set;
# `of` reads `data`, a folder of manifests for each language.
# shellcheck shell=bash disable=SC2154
seed=${SEED:-1}
processes=${PROCESSES:-1}
read -ra more <<< "${SETTINGS:-}"

fail() { echo "recipes/$(basename "$(dirname "$0")"): $*" >&2; exit 1; }
list() { local all; all=$(paste -sd, -); echo "[$all]"; }
of() { local split=$1 xx; shift; for xx in "$@"; do echo "$data/$xx/$split.jsonl"; done; }  # SPLIT languages...
require_phones() {  # of the manifests that stdin lists
    local lacking
    lacking=$(while read -r file; do grep -qs '"phones"' "$file" || echo "$file"; done)
    [ -z "$lacking" ] ||
        fail "missing, or without phones (speechx data phones FILE -o NEW adds them):"$'\n'"$lacking"
}
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
score() {  # NAME manifests...: without a language model
    local name=$1; shift
    [ -e "$out/$name.json" ] ||
        speechx evaluate --model "$out/$name/best" --decoder greedy -o "$out/$name.json" --manifest "$@"
}
score_lm() {  # NAME TOKENS and the manifests of training, dev and test, each group as one word
    # An n-gram of the training text, without sentences of dev and test; its weights are chosen on dev.
    local name=$1 tokens=$2 lm=$out/$1.ngram.safetensors
    [ ! -e "$out/${name}_lm.json" ] || return 0
    # shellcheck disable=SC2086
    {
    speechx lm train $3 --tokens "$tokens" --exclude $4 $5 --drop-shared -o "$lm"
    speechx lm tune "$out/$name/best" --lm "$lm" --dev $4
    speechx evaluate --model "$out/$name/best" -o "$out/${name}_lm.json" --manifest $5
    }
}
sounds() {  # NUMBER manifests...: the first recordings that each lists
    local number=$1 manifest; shift
    for manifest in "$@"; do
        head -n "$number" "$manifest" | sed "s|.*\"audio\": \"\([^\"]*\)\".*|$(dirname "$manifest")/\1|"
    done
}
