#!/usr/bin/env bash
# BABEL language packs to one recogniser of telephone speech: pretrain on all of it, fine-tune, score.
#
#   recipes/babel/run.sh ROOT
#
# ROOT is one pack as LDC delivers it, or a folder of packs. Error rates are of the official dev set (dev10h)
# and name the policy for tags in the references. A finished stage is skipped, an interrupted one continues.
# Settings: OUT, SEED, LANGUAGES (to fine-tune; default: all), PROCESSES (one per GPU), PREPARE (further
# options of `speechx data prepare babel`), SETTINGS (for every training, as in run.device=cuda).
set -euo pipefail
root=${1:?"usage: recipes/babel/run.sh ROOT"}
out=${OUT:-runs/babel}
configs=$(dirname "$0")
. "$configs/../common.sh"

# shellcheck disable=SC2046,SC2086
{
# 1. Manifests, and 16 kHz FLAC copies of every utterance.
prepare "$out/data" babel "$root" --convert ${PREPARE:-}
languages=${LANGUAGES:-$(cd "$out/data"; for file in */test.jsonl; do dirname "$file"; done)}
manifests() { local xx; for xx in $languages; do echo "$out/data/$xx/$1.jsonl"; done; }

# 2. One self-supervised model of all languages, on labelled and unlabelled speech.
train "$out/pretrain" pretrain pretrain run.seed="$seed" data.dev="$(manifests dev | list)" \
    data.train="$(find "$out/data" -name train.jsonl -o -name unlabelled.jsonl | sort | list)"

# 3. Characters of all languages at once; the same without pretraining. Each is scored without and with an
#    n-gram of the training text.
characters() {  # NAME settings...
    local name=$1; shift
    train "$out/$name" finetune finetune run.seed="$seed" "$@" \
        data.train="$(manifests train | list)" data.dev="$(manifests dev | list)"
    score "$name" $(manifests test)
    score_lm "$name" words "$(manifests train)" "$(manifests dev)" "$(manifests test)"
}
characters characters init="$out/pretrain/final"
characters scratch

# 4. A held-out segment of each language, transcribed by the command line, and the table.
speechx transcribe --model "$out/characters/best" $(sounds 1 $(manifests test))
speechx report seed="$seed" \
    $(for name in characters scratch; do echo "$name=$out/$name.json ${name}_lm=$out/${name}_lm.json"; done) \
    -o "$out/results.json"
}
