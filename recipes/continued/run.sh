#!/usr/bin/env bash
# Measures the benefit of continued pretraining on the unlabelled speech of an unseen language.
#
#   recipes/continued/run.sh ROOT PHONES.tsv
#
# ROOT and PHONES.tsv as for recipes/commonvoice, whose configurations are used. A parent is pretrained on
# every language of ROOT but the first of LANGUAGES. The child continues it on the unlabelled speech of that
# language (in ROOT, and the training recordings of PHONES.tsv without their labels). Both are fine-tuned with
# the same ten labelled minutes, for each of SEEDS. Settings as there, CHILD (for the continued pretraining
# alone) and PARENT, a model to use instead of pretraining one (any format that `init` reads).
set -euo pipefail
root=${1:?"usage: recipes/continued/run.sh ROOT PHONES.tsv"}
phones=${2:?"usage: recipes/continued/run.sh ROOT PHONES.tsv"}
out=${OUT:-runs/continued}
languages=${LANGUAGES:-ru}
unseen=${languages%% *}
seeds=${SEEDS:-"1 2 3"}
read -ra child <<< "${CHILD:-run.steps=500}"
configs=$(dirname "$0")/../commonvoice
. "$(dirname "$0")/../common.sh"

# 1. Manifests.
prepare "$out/data" commonvoice "$root" --convert
prepare "$out/phones" table "$phones" --language "$unseen"
speech() { find "$out/data" -name train.jsonl -o -name unlabelled.jsonl | sort; }
valid="data.dev=[$out/data/$unseen/dev.jsonl]"

# 2. A parent without the language, and its child, continued on the language.
parent=${PARENT:-$out/parent/final}
[ -n "${PARENT:-}" ] || train "$out/parent" pretrain pretrain run.seed="$seed" "$valid" \
    data.train="$(speech | grep -v "/$unseen/" | list)"
train "$out/child" pretrain pretrain run.seed="$seed" "$valid" init="$parent" \
    data.train="$({ speech | grep "/$unseen/"; echo "$out/phones/$unseen/train.jsonl"; } | list)" \
    optim.lr=5e-4 "${child[@]}"

# 3. The same ten labelled minutes on both.
phonemes() {  # NAME MODEL
    local name=$1 model=$2 s
    for s in $seeds; do
        train "$out/$name-$s" finetune phonemes init="$model" run.seed="$s" data.limit_minutes=10 \
            run.steps="${FEW_STEPS:-400}" data.train="[$out/phones/$unseen/train.jsonl]" \
            data.dev="[$out/phones/$unseen/dev.jsonl]"
        score "$name-$s" "$out/phones/$unseen/test.jsonl"
    done
}
phonemes without "$parent"
phonemes continued "$out/child/final"

# 4. The table.
runs() { ls "$out/$1"-[0-9]*.json | paste -sd, -; }
speechx report seed="$seed" without="$(runs without)" continued="$(runs continued)" -o "$out/results.json"
