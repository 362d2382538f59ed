#!/usr/bin/env bash
# A CommonVoice tree to a multilingual recogniser: pretrain on all of it, fine-tune, transcribe, score.
#
#   recipes/commonvoice/run.sh ROOT [PHONES.tsv]
#
# ROOT holds a folder per language (cv-corpus-*/). PHONES.tsv, if given, is a table of utterances of the
# first language with a `phones` column, for phoneme fine-tuning on labels better than G2P. Every stage is
# skipped when it is done, and one that was interrupted is taken up where it stood. Settings: OUT, SEED,
# LANGUAGES, ADAPT (those of them that get a model of their own), PROCESSES (one per GPU), SETTINGS (for
# every training, as in run.device=cuda).
set -euo pipefail
root=${1:?"usage: recipes/commonvoice/run.sh ROOT [PHONES.tsv]"}
phones=${2:-}
here=$(dirname "$0")
out=${OUT:-runs/commonvoice}
languages=${LANGUAGES:-"ru cs nl es"}      # with text: fine-tuned together, one shared alphabet
first=${languages%% *}
seed=${SEED:-1}
adapt=${ADAPT-$languages}
processes=${PROCESSES:-1}
read -ra more <<< "${SETTINGS:-}"

list() { local all; all=$(paste -sd, -); echo "[$all]"; }
manifests() { local split=$1 xx; shift; for xx in ${*:-$languages}; do echo "$out/data/$xx/$split.jsonl"; done; }
train() {  # FOLDER COMMAND CONFIG settings...
    local folder=$1 command=$2 config=$3 run="speechx" resume=""; shift 3
    [ ! -e "$folder/done" ] || return 0
    [ "$processes" -eq 1 ] || run="torchrun --nproc-per-node $processes -m speechx"
    ! compgen -G "$folder/state/step_*" > /dev/null || resume=--resume
    $run "$command" "$here/$config.yaml" out="$folder" "$@" ${more[@]+"${more[@]}"} $resume
    touch "$folder/done"
}
score() {  # NAME manifests...
    local name=$1; shift
    [ -e "$out/$name.json" ] || speechx evaluate --model "$out/$name/best" -o "$out/$name.json" --manifest "$@"
}

# shellcheck disable=SC2046
{
# 1. Manifests, and 16 kHz FLAC copies that training reads many times faster than MP3.
[ -e "$out/data/done" ] || { speechx data prepare commonvoice "$root" --convert -o "$out/data" > /dev/null; touch "$out/data/done"; }

# 2. One self-supervised model of all languages, sampled with p proportional to hours^0.5.
train "$out/pretrain" pretrain pretrain run.seed="$seed" data.valid="$(manifests dev | list)" \
    data.train="$(find "$out/data" -name train.jsonl -o -name unlabelled.jsonl | sort | list)"

# 3. Characters of several languages at once; the same without pretraining; then some languages alone.
characters() {  # NAME LANGUAGES settings...
    local name=$1 spoken=$2; shift 2
    train "$out/$name" finetune finetune run.seed="$seed" "$@" \
        data.train="$(manifests train $spoken | list)" data.dev="$(manifests dev $spoken | list)"
    score "$name" $(manifests test $spoken)
}
characters characters "$languages" init="$out/pretrain/final"
characters characters_scratch "$languages"
names="characters characters_scratch"
for xx in $adapt; do
    characters "characters_$xx" "$xx" init="$out/characters/best" run.steps="${ADAPT_STEPS:-2500}"
    names="$names characters_$xx"
done

# 4. Phonemes, the model that zero-shot decoding uses.
if [ -n "$phones" ]; then
    [ -e "$out/phones/done" ] || { speechx data prepare table "$phones" --language "$first" -o "$out/phones" > /dev/null; touch "$out/phones/done"; }
    phonemes() {
        local name=$1; shift
        train "$out/$name" finetune phonemes "$@" \
            data.train="[$out/phones/$first/train.jsonl]" data.dev="[$out/phones/$first/dev.jsonl]"
        score "$name" "$out/phones/$first/test.jsonl"
    }
    phonemes phonemes run.seed="$seed" init="$out/pretrain/final"
    phonemes phonemes_scratch run.seed="$seed"
    names="$names phonemes phonemes_scratch"
fi

# 5. Held-out clips, transcribed by the command line, and the table.
speechx transcribe --model "$out/characters/best" $(for manifest in $(manifests test); do
    head -n 2 "$manifest" | sed "s|.*\"audio\": \"\([^\"]*\)\".*|$(dirname "$manifest")/\1|"
done)
speechx report seed="$seed" $(for name in $names; do echo "$name=$out/$name.json"; done) -o "$out/results.json"
}
