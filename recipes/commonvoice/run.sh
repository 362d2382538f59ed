#!/usr/bin/env bash
# A CommonVoice tree to a multilingual recogniser: pretrain on all of it, fine-tune, transcribe, score.
#
#   recipes/commonvoice/run.sh ROOT [PHONES.tsv]
#
# ROOT holds a folder per language (cv-corpus-*/). PHONES.tsv, if given, is a table of utterances of the
# first language with a `phones` column, for phoneme fine-tuning on labels better than G2P. A finished
# stage is skipped, an interrupted one continues. Settings: OUT, SEED, LANGUAGES, ADAPT (languages that get a
# model of their own; default: all), LM (n-grams of words, or of characters where text has no spaces),
# PROCESSES (one per GPU), SETTINGS (for every training, as in run.device=cuda).
set -euo pipefail
root=${1:?"usage: recipes/commonvoice/run.sh ROOT [PHONES.tsv]"}
phones=${2:-}
out=${OUT:-runs/commonvoice}
languages=${LANGUAGES:-"ru cs nl es"}      # with text: fine-tuned together, one shared alphabet
first=${languages%% *}
adapt=${ADAPT-$languages}
lm=${LM:-words}
configs=$(dirname "$0")
. "$configs/../common.sh"

manifests() { local split=$1 xx; shift; for xx in ${*:-$languages}; do echo "$out/data/$xx/$split.jsonl"; done; }

# shellcheck disable=SC2046
{
# 1. Manifests, and 16 kHz FLAC copies that training reads many times faster than MP3.
prepare "$out/data" commonvoice "$root" --convert

# 2. One self-supervised model of all languages, sampled with p proportional to hours^0.5.
train "$out/pretrain" pretrain pretrain run.seed="$seed" data.dev="$(manifests dev | list)" \
    data.train="$(find "$out/data" -name train.jsonl -o -name unlabelled.jsonl | sort | list)"

# 3. Characters of several languages at once; the same without pretraining; then some languages alone. Each is
#    scored without and with an n-gram of the training text.
characters() {  # NAME LANGUAGES settings...
    local name=$1 spoken=$2; shift 2
    train "$out/$name" finetune finetune run.seed="$seed" "$@" \
        data.train="$(manifests train $spoken | list)" data.dev="$(manifests dev $spoken | list)"
    score "$name" $(manifests test $spoken)
    score_lm "$name" "$lm" "$(manifests train $spoken)" "$(manifests dev $spoken)" "$(manifests test $spoken)"
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
    prepare "$out/phones" table "$phones" --language "$first"
    phonemes() {
        local name=$1; shift
        train "$out/$name" finetune phonemes "$@" \
            data.train="[$out/phones/$first/train.jsonl]" data.dev="[$out/phones/$first/dev.jsonl]"
        score "$name" "$out/phones/$first/test.jsonl"
        score_lm "$name" phonemes "$out/phones/$first/train.jsonl" "$out/phones/$first/dev.jsonl" \
            "$out/phones/$first/test.jsonl"
    }
    phonemes phonemes run.seed="$seed" init="$out/pretrain/final"
    phonemes phonemes_scratch run.seed="$seed"
    names="$names phonemes phonemes_scratch"
fi

# 5. Held-out clips, transcribed by the command line, and the table.
speechx transcribe --model "$out/characters/best" $(sounds 2 $(manifests test))
speechx report seed="$seed" $(for name in $names; do echo "$name=$out/$name.json ${name}_lm=$out/${name}_lm.json"; done) -o "$out/results.json"
}
