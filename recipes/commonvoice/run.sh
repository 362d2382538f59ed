#!/usr/bin/env bash
# A CommonVoice tree to a multilingual recogniser: pretrain on all of it, fine-tune, transcribe, score.
#
#   recipes/commonvoice/run.sh ROOT [PHONES.tsv]
#
# ROOT holds a folder per language (cv-corpus-*/). PHONES.tsv, if given, is a table of utterances with a
# `phones` column, for phoneme fine-tuning on labels better than G2P. Every stage is skipped when its
# output is there, so a rerun resumes by itself. Settings: OUT, LANGUAGES, SEED, SEEDS, GPUS, SETTINGS.
set -euo pipefail
root=${1:?"usage: recipes/commonvoice/run.sh ROOT [PHONES.tsv]"}
phones=${2:-}
here=$(dirname "$0")
out=${OUT:-runs/commonvoice}
languages=${LANGUAGES:-"ru cs nl es"}      # with text: fine-tuned together, one shared alphabet
seed=${SEED:-1}
seeds=${SEEDS:-"1 2 3"}                    # of the comparison with few labels
gpus=${GPUS:-1}
read -ra more <<< "${SETTINGS:-}"          # further settings for every training, as in run.device=cuda

speechx() { if [ "$gpus" -gt 1 ]; then torchrun --nproc-per-node "$gpus" -m speechx "$@"; else command speechx "$@"; fi; }
list() { local all; all=$(paste -sd,); echo "[$all]"; }
manifests() { local split=$1 xx; for xx in $languages; do echo "$out/data/$xx/$split.jsonl"; done; }

# 1. Manifests, and 16 kHz FLAC copies that training reads many times faster than MP3.
[ -e "$out/data/done" ] || { command speechx data prepare commonvoice "$root" --convert -o "$out/data" > /dev/null; touch "$out/data/done"; }

# 2. One self-supervised model of all languages, sampled with p proportional to hours^0.5.
[ -e "$out/pretrain/done" ] || { speechx pretrain "$here/pretrain.yaml" out="$out/pretrain" run.seed="$seed" \
    data.train="$(ls "$out"/data/*/train.jsonl "$out"/data/*/unlabelled.jsonl | list)" \
    data.valid="$(manifests dev | list)" "${more[@]}"; touch "$out/pretrain/done"; }

# 3. Characters of several languages at once, with and without pretraining, on the same updates.
characters() {
    local name=$1; shift
    [ -e "$out/$name/done" ] || { speechx finetune "$here/finetune.yaml" out="$out/$name" run.seed="$seed" \
        data.train="$(manifests train | list)" data.dev="$(manifests dev | list)" "$@" "${more[@]}"; touch "$out/$name/done"; }
    # shellcheck disable=SC2046
    [ -e "$out/$name.json" ] || command speechx evaluate --model "$out/$name/best" --manifest $(manifests test) -o "$out/$name.json"
}
characters characters init="$out/pretrain/final"
characters characters_scratch

# 4. Phonemes, likewise: the model that zero-shot decoding uses.
if [ -n "$phones" ]; then
    first=${languages%% *}
    [ -e "$out/phones/done" ] || { command speechx data prepare table "$phones" --language "$first" -o "$out/phones" > /dev/null; touch "$out/phones/done"; }
    phonemes() {
        local name=$1; shift
        [ -e "$out/$name/done" ] || { speechx finetune "$here/phonemes.yaml" out="$out/$name" run.seed="$seed" \
            data.train="[$out/phones/$first/train.jsonl]" data.dev="[$out/phones/$first/dev.jsonl]" "$@" "${more[@]}"; touch "$out/$name/done"; }
        [ -e "$out/$name.json" ] || command speechx evaluate --model "$out/$name/best" --manifest "$out/phones/$first/test.jsonl" -o "$out/$name.json"
    }
    phonemes phonemes init="$out/pretrain/final"
    phonemes phonemes_scratch
    # And where labels are few: ten minutes of them, three draws.
    for s in $seeds; do
        few=(run.seed="$s" data.limit_minutes=10 run.batch_seconds=24 run.steps="${FEW_STEPS:-400}")
        phonemes "phonemes_10min-$s" init="$out/pretrain/final" "${few[@]}"
        phonemes "phonemes_10min_scratch-$s" "${few[@]}"
    done
fi

# 5. Held-out clips, transcribed by the command line, and the table.
# shellcheck disable=SC2046
command speechx transcribe --model "$out/characters/best" \
    $(for manifest in $(manifests test); do head -n 2 "$manifest" | sed "s|.*\"audio\": \"\([^\"]*\)\".*|$(dirname "$manifest")/\1|"; done)
scores=()
for name in characters characters_scratch phonemes phonemes_scratch; do
    [ -e "$out/$name.json" ] && scores+=("$name=$out/$name.json")
done
for name in phonemes_10min phonemes_10min_scratch; do
    [ -z "$phones" ] || scores+=("$name=$(for s in $seeds; do echo "$out/$name-$s.json"; done | paste -sd,)")
done
command speechx report seed="$seed" "${scores[@]}" -o "$out/results.json"
