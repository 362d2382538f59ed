#!/usr/bin/env bash
# Phonemes, characters or no labels: which training on other languages helps a language with few labels most?
# (Whistle, Yusuyin et al. 2024)
#
#   recipes/whistle/run.sh [DATA]
#
# DATA holds XX/{train,dev,test}.jsonl with phones, one folder per language; without it, espeak-ng speaks seven
# languages. One conformer per kind of training learns from all languages but TARGET, with the same updates. Each is
# then fine-tuned to the phonemes of TARGET with some labelled minutes. A finished stage is skipped, an interrupted one
# continues. Settings:
#   TARGET     the language with few labels; default pt; needed with DATA
#   KINDS      default "phonemes characters wav2vec2 scratch"
#   LABELS     labelled minutes of TARGET, default "2 10 60"
#   SEEDS      of fine-tuning, default "1 2 3"
#   STEPS, FEW_STEPS   updates of training on the other languages and on TARGET, default 1000 and 400
#   PRESET     the encoder, default tiny_conformer
#   SEED (of the training on other languages), OUT, MINUTES (of synthetic training speech per language),
#   SETTINGS (for every training, as in run.device=cuda)
set -euo pipefail
given=${1:-}
out=${OUT:-runs/whistle}
target=${TARGET:-pt}
kinds=${KINDS:-"phonemes characters wav2vec2 scratch"}
seeds=${SEEDS:-"1 2 3"}
labels=${LABELS:-"2 10 60"}
encoder=${PRESET:-tiny_conformer}
configs=$(dirname "$0")/../tiny
. "$(dirname "$0")/../common.sh"

# shellcheck disable=SC2046,SC2086
{
# 1. The data: an inventory of IPA that all languages share, from G2P.
data=${given:-$out/data}
[ -z "$given" ] || [ -n "${TARGET:-}" ] || fail "TARGET must name the language of $given that has few labels"
[ -n "$given" ] || prepare "$data" synthetic --minutes "${MINUTES:-15}" --seed 1 \
    $(for xx in es it de tr fi ru pt; do echo --language $xx; done)
others=$(for file in "$data"/*/train.jsonl; do [ ! -e "$file" ] || basename "$(dirname "$file")"; done |
    { grep -vx "$target" || true; })
[ -e "$data/$target/train.jsonl" ] || fail "$data has no $target/train.jsonl; it has" ${others:-nothing}
[ -n "$others" ] || fail "$data has no language but $target; others are needed to train on"
{ of train $others $target; of dev $others $target; of test $target; } | require_phones

# 2. One model of the other languages per kind.
equal="preset=$encoder run.seed=$seed run.steps=${STEPS:-1000}"
for kind in $kinds; do
    command=finetune settings="objective.tokens=$kind"
    case $kind in
        scratch) continue ;;
        wav2vec2) command=pretrain settings="run.batch_seconds=32 run.max_seconds_per_device=32" ;;
        phonemes | characters) ;;
        *) fail "KINDS has $kind; expected phonemes, characters, wav2vec2 or scratch" ;;
    esac
    train "$out/$kind" $command $command $equal $settings \
        data.train="$(of train $others | list)" data.dev="$(of dev $others | list)"
done

# 3. TARGET with few labels, from each. Phones that the other languages lack start from their nearest phone.
few="run.steps=${FEW_STEPS:-400} run.batch_seconds=16 run.max_seconds_per_device=16 optim.lr=1.5e-3"
phonemes() {  # KIND MINUTES SEED
    local kind=$1 minutes=$2 s=$3 name=$1-$2-$3 start="init=$out/$1/best"
    case $kind in
        scratch) start="preset=$encoder optim.head_lr_scale=40" ;;
        wav2vec2) start="init=$out/$kind/final optim.head_lr_scale=15" ;;
        characters) start="$start optim.head_lr_scale=15" ;;
    esac
    train "$out/$name" finetune finetune $start objective.new_phones=nearest run.seed="$s" $few \
        data.limit_minutes="$minutes" data.train="$(of train $target | list)" data.dev="$(of dev $target | list)"
    score "$name" $(of test $target)
}
for s in $seeds; do for minutes in $labels; do for kind in $kinds; do phonemes "$kind" "$minutes" "$s"; done; done; done

# 4. One table: the mean over the seeds, and their spread.
runs() { local s; for s in $seeds; do echo "$out/$1-$s.json"; done | paste -sd,; }
speechx report $(for minutes in $labels; do for kind in $kinds; do
    echo "$kind.${minutes}min=$(runs "$kind-$minutes")"; done; done) seeds="$(wc -w <<< "$seeds")" -o "$out/results.json"
}
