#!/usr/bin/env bash
# Findings of the papers, asked again on your speech. Each stage prints its table.
#
#   recipes/findings/run.sh [DATA]
#
# DATA holds XX/{train,dev,test}.jsonl with phones and texts, one folder per language; without it, espeak-ng speaks
# seven languages. A finished training is skipped, an interrupted one continues. Settings:
#   TARGET    the language with little speech; default pt; needed with DATA
#   RELATED   languages related to it, default "es it"; needed with DATA
#   STAGES    default "multilingual vocabulary continued supervision codes", see README.md
#   SEEDS     of everything, default "1 2 3"
#   STEPS, FEW_STEPS, LABELS   updates of pretraining and of fine-tuning, default 400 and 400; labelled minutes, default 10
#   OUT, MINUTES (of synthetic training speech per language), SETTINGS (for every training, as in run.device=cuda)
set -euo pipefail
given=${1:-}
out=${OUT:-runs/findings}
target=${TARGET:-pt}
related=${RELATED:-"es it"}
stages=${STAGES:-"multilingual vocabulary continued supervision codes"}
seeds=${SEEDS:-"1 2 3"}
steps=${STEPS:-400}
few="run.steps=${FEW_STEPS:-400} run.batch_seconds=16 run.max_seconds_per_device=16 optim.lr=1.5e-3 optim.head_lr_scale=15"
labels=${LABELS:-10}
here=$(dirname "$0")
configs=$here/../tiny
. "$here/../common.sh"

# shellcheck disable=SC2046,SC2086
{
data=${given:-$out/data}
[ -z "$given" ] || [ -n "${TARGET:-}" ] || fail "TARGET must name the language of $given that has little speech"
[ -z "$given" ] || [ -n "${RELATED:-}" ] || fail "RELATED must name languages of $given that are related to $target"
[ -n "$given" ] || prepare "$data" synthetic --minutes "${MINUTES:-15}" --seed 1 \
    $(for xx in es it de tr fi ru pt; do echo --language $xx; done)
all=$(for file in "$data"/*/train.jsonl; do [ ! -e "$file" ] || basename "$(dirname "$file")"; done | sort)
for xx in $target $related; do
    [[ " "$(echo $all)" " = *" $xx "* ]] || fail "$data has no $xx/train.jsonl; it has" ${all:-nothing}
done
others=$(grep -vx "$target" <<< "$all")
{ of train $all; of dev $all; of test $target; } | require_phones

pretrained() {  # NAME SEED LANGUAGES settings...
    local name=$1-$2 s=$2 spoken=$3; shift 3
    train "$out/$name" pretrain pretrain run.seed="$s" run.steps="$steps" run.batch_seconds=32 \
        run.max_seconds_per_device=32 data.train="$(of train $spoken | list)" data.dev="$(of dev $spoken | list)" "$@"
}
tuned() {  # NAME SEED MODEL LANGUAGES settings...: phonemes, scored on TARGET
    local name=$1-$2 s=$2 model=$3 spoken=$4; shift 4
    train "$out/$name" finetune finetune init="$out/$model-$s/final" run.seed="$s" $few \
        data.limit_minutes="$labels" data.train="$(of train $spoken | list)" data.dev="$(of dev $target | list)" "$@"
    [ -e "$out/$name.json" ] || score "$name" $(of test $target) > /dev/null
}
runs() { local s; for s in $seeds; do echo "$out/$1-$s.json"; done | paste -sd,; }
bits() {  # NAME: bits per masked frame of TARGET's dev, the mean over the seeds
    local s; for s in $seeds; do grep -o "\"dev_bits/$target\": [0-9.]*" "$out/$1-$s/log.jsonl" | tail -n 1; done |
        awk '{ sum += $2 } END { printf "%.3f", sum / NR }'
}
table() { echo; speechx report -o "$out/$1.json" "${@:2}" seeds="$(wc -w <<< "$seeds")"; }

for stage in $stages; do case $stage in
multilingual)   # XLSR, CLSRIL-23: does pretraining on many languages help one with little speech?
    for s in $seeds; do
        pretrained mono "$s" "$target"
        pretrained multi "$s" "$(echo $all)"
        for model in mono multi; do tuned "multilingual_$model" "$s" $model "$target"; done
    done
    table multilingual per.mono="$(runs multilingual_mono)" per.multi="$(runs multilingual_multi)" \
        bits.mono="$(bits mono)" bits.multi="$(bits multi)" ;;
vocabulary)     # XLSR: one inventory for all languages, or one for each?
    for s in $seeds; do
        pretrained multi "$s" "$(echo $all)"
        tuned vocabulary_shared "$s" multi "$(echo $all)"
        tuned vocabulary_separate "$s" multi "$(echo $all)" objective.separate_languages=true
    done
    table vocabulary per.shared="$(runs vocabulary_shared)" per.separate="$(runs vocabulary_separate)" ;;
continued)      # Ainu: continued pretraining on the target, and related languages in fine-tuning
    for s in $seeds; do
        pretrained parent "$s" "$(echo $others)"
        pretrained child "$s" "$target" init="$out/parent-$s/final" optim.lr=5e-4 allow_chance_level=true
        for model in parent child; do
            tuned "continued_${model}_alone" "$s" $model "$target"
            tuned "continued_${model}_related" "$s" $model "$target $related"
        done
    done
    table continued $(for each in parent_alone parent_related child_alone child_related; do
        echo "per.$each=$(runs "continued_$each")"; done) ;;
supervision)    # Whistle: phonemes or characters of the other languages, before a few labelled minutes
    TARGET=$target KINDS="phonemes characters" LABELS=$labels SEEDS=$seeds STEPS=$steps OUT=$out/whistle \
        FEW_STEPS=${FEW_STEPS:-400} bash "$here/../whistle/run.sh" "$data" ;;
codes)          # XLSR: do related languages share more codes than others, beyond what speakers differ by?
    for s in $seeds; do
        pretrained multi "$s" "$(echo $all)"
        echo; echo "codes, seed $s"
        speechx analyze codebook --model "$out/multi-$s/final" --manifest $(of train $all) -o "$out/codes-$s"
    done ;;
*) fail "STAGES has $stage; expected multilingual, vocabulary, continued, supervision or codes" ;;
esac; done
}
