#!/usr/bin/env bash
# All objectives of pretraining side by side: the same speech, the same updates, and what each is worth afterwards.
#
#   recipes/objectives/run.sh [DATA]
#
# DATA holds XX/{train,dev,test}.jsonl with phones, one folder per language; without it, espeak-ng speaks seven
# languages. For each objective: pretraining on the train manifests of all languages; probes of its layers for phones
# and languages; and phonemes of TARGET, fine-tuned with a few labelled minutes. A finished stage is skipped, an
# interrupted one continues. Settings:
#   TARGET      language that is fine-tuned; default pt; needed with DATA
#   OBJECTIVES  default "untrained wav2vec2 best_rq cpc masked_autoencoding unispeech w2v_bert wav2vec"
#   SEEDS       of fine-tuning, default "1 2 3"
#   STEPS, BATCH       updates of pretraining and seconds of speech in each, default 300 and 32
#   FEW_STEPS, LABELS  updates of fine-tuning and labelled minutes, default 300 and 10
#   ALIGNMENTS  folder with the times of the phones of TARGET's test manifest (ID.json or ID.TextGrid); by default
#               `speechx align` makes them with the first fine-tuned model
#   SEED (of pretraining), OUT, MINUTES (of synthetic training speech per language), SETTINGS (for every training)
set -euo pipefail
given=${1:-}
out=${OUT:-runs/objectives}
target=${TARGET:-pt}
seeds=${SEEDS:-"1 2 3"}
objectives=${OBJECTIVES:-"untrained wav2vec2 best_rq cpc masked_autoencoding unispeech w2v_bert wav2vec"}
configs=$(dirname "$0")/../tiny
. "$(dirname "$0")/../common.sh"

# shellcheck disable=SC2046,SC2086
{
# 1. The data.
data=${given:-$out/data}
[ -z "$given" ] || [ -n "${TARGET:-}" ] || fail "TARGET must name the language of $given that is fine-tuned"
[ -n "$given" ] || prepare "$data" synthetic --minutes "${MINUTES:-15}" --seed 1 \
    $(for xx in es it de tr fi ru pt; do echo --language $xx; done)
all=$(for file in "$data"/*/train.jsonl; do [ ! -e "$file" ] || basename "$(dirname "$file")"; done | sort)
[[ " "$(echo $all)" " = *" $target "* ]] || fail "$data has no $target/train.jsonl; it has" ${all:-nothing}
{ of train $all; of dev $all; of test $all; } | require_phones

# 2. One encoder per objective, and the minutes that its training took.
equal="run.seed=$seed run.steps=${STEPS:-300} run.batch_seconds=${BATCH:-32} run.max_seconds_per_device=${BATCH:-32}"
encoder() {  # OBJECTIVE
    local name=$1 command=pretrain config=objectives/$1 more_settings="" began=$SECONDS
    [ ! -e "$out/$name/done" ] || return 0
    case $name in
        wav2vec2) config=pretrain ;;
        unispeech) command=finetune ;;
        # One update with a rate of almost nothing.
        untrained) config=pretrain more_settings="run.steps=1 optim.lr=1e-12 health.action=warn" ;;
    esac
    train "$out/$name" $command $config $equal data.train="$(of train $all | list)" \
        data.dev="$(of dev $all | list)" $more_settings
    echo $((SECONDS - began)) >> "$out/$name/seconds"
}
for name in $objectives; do encoder "$name"; done

# 3. A few labelled minutes of one language on each. Encoders with 100 frames a second have a head that sees 8 of
#    them every 4.
few="run.steps=${FEW_STEPS:-300} run.batch_seconds=16 run.max_seconds_per_device=16 optim.lr=1.5e-3"
phonemes() {  # OBJECTIVE SEED
    local name=$1 s=$2 settings="optim.head_lr_scale=15"
    case $name in
        cpc | wav2vec) settings="objective.kernel=8 objective.stride=4 objective.time_masking.probability=0
            optim.lr=5e-4 optim.head_lr_scale=50" ;;
    esac
    train "$out/$name-$s" finetune finetune init="$out/$name/final" run.seed="$s" $few $settings \
        data.limit_minutes="${LABELS:-10}" data.train="$(of train $target | list)" data.dev="$(of dev $target | list)"
    score "$name-$s" $(of test $target)
}
for s in $seeds; do for name in $objectives; do phonemes "$name" "$s"; done; done

# 4. What each layer knows: phones of TARGET, and all languages.
alignments=${ALIGNMENTS:-$out/aligned}
first=$(set -- $objectives; echo "$1-${seeds%% *}")
[ -n "${ALIGNMENTS:-}" ] || [ -e "$out/aligned/done" ] || {
    speechx align $(of test $target) --model "$out/$first/best" -f json -o "$out/aligned"
    touch "$out/aligned/done"
}
for name in $objectives; do
    [ -e "$out/layers/$name/layers.json" ] || speechx analyze layers "$out/$name/final" $(of test $all) \
        --alignments "$alignments" -o "$out/layers/$name" > /dev/null
done

# 5. One table.
runs() { local s; for s in $seeds; do echo "$out/$1-$s.json"; done | paste -sd,; }
minutes() { awk '{ seconds += $1 } END { printf "%.1f", seconds / 60 }' "$out/$1/seconds"; }
speechx report $(for name in $objectives; do
    echo "per.$name=$(runs "$name")" "layers.$name=$out/layers/$name/layers.json" "minutes.$name=$(minutes "$name")"
done) seeds="$(wc -w <<< "$seeds")" -o "$out/results.json"
}
