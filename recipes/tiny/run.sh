#!/usr/bin/env bash
# From nothing to a scored multilingual model on two CPU cores, in about ten minutes.
#
# A finished stage is skipped, an interrupted one continues.
# Settings: OUT, SEED, SEEDS (of the comparison), MINUTES (of training speech per language), SETTINGS
# (for every training, as in run.device=cuda).
set -euo pipefail
cd "$(dirname "$0")/../.."

out=${OUT:-runs/tiny}
seed=${SEED:-1}
seeds=${SEEDS:-"1 2 3"}
seen="es it de tr fi ru"                   # languages with labels
unseen="pt ca el hu"                       # languages without: in pretraining, but not in fine-tuning
read -ra more <<< "${SETTINGS:-}"
before=$(cat "$out/seconds" 2> /dev/null || echo 0)    # spent by runs that were interrupted
mkdir -p "$out"; trap '[ -e "$out/scored" ] || echo $((before + SECONDS)) > "$out/seconds"' EXIT

list() { local split=$1 all="" xx; shift; for xx in "$@"; do all+="${all:+,}$out/data/$xx/$split.jsonl"; done; echo "[$all]"; }
tests() { local xx; for xx in "$@"; do echo "$out/data/$xx/test.jsonl"; done; }
train() {  # FOLDER COMMAND settings...
    local folder=$1 command=$2 resume=""; shift 2
    [ ! -e "$folder/done" ] || return 0
    ! compgen -G "$folder/state/step_*" > /dev/null || resume=--resume
    speechx "$command" "recipes/tiny/$command.yaml" out="$folder" "$@" ${more[@]+"${more[@]}"} $resume > /dev/null
    touch "$folder/done"
}
score() {  # NAME MODEL manifests and options...
    local name=$1 model=$2; shift 2
    [ -e "$out/$name.json" ] || speechx evaluate --model "$out/$model/best" -o "$out/$name.json" --manifest "$@"
}

# shellcheck disable=SC2046,SC2086
{
# 1. Ten languages spoken by espeak-ng: test speakers and test sentences never occur in training.
[ -e "$out/data/done" ] || { speechx data prepare synthetic -o "$out/data" --minutes "${MINUTES:-15}" --seed "$seed" \
    $(for xx in $seen $unseen; do echo "--language $xx"; done) > /dev/null; touch "$out/data/done"; }

# 2. One self-supervised model of all ten.
train "$out/pretrain" pretrain run.seed="$seed" \
    data.train="$(list train $seen $unseen)" data.dev="$(list dev $seen $unseen)"

# 3. Phonemes of six languages, from the pretrained model.
train "$out/seen" finetune init="$out/pretrain/final" run.seed="$seed" \
    data.train="$(list train $seen)" data.dev="$(list dev $seen)"
score seen seen $(tests $seen)

# 4. Languages without a label, through the articulatory mapping, beside its controls, and with an n-gram of phones.
for xx in $unseen; do
    data=$out/data/$xx ngram=$out/$xx.ngram.safetensors
    [ -e "$ngram" ] || speechx lm train "$data/train.jsonl" --tokens phonemes --order 4 -o "$ngram" \
        --exclude "$data/dev.jsonl" "$data/test.jsonl" --drop-shared > /dev/null
    score "$xx" seen "$data/test.jsonl" --inventory "$xx" --lm "$ngram"
done

# 5. One of them again, after two labelled minutes.
few="run.batch_seconds=16 run.max_seconds_per_device=16"
train "$out/few_shot" finetune init="$out/seen/best" run.seed="$seed" run.steps="${FEW_STEPS:-120}" \
    $few run.eval_steps=40 optim.lr=1.0e-3 \
    data.train="$(list train pt)" data.dev="$(list dev pt)" data.limit_minutes=2
score few_shot few_shot $(tests pt)

# 6. What pretraining adds with nine labelled minutes: equal updates, data and encoder rate, side by side;
#    each arm has the head_lr_scale that was best for it on dev (of 5, 15 and 40).
compare() {  # NAME SEED settings...
    local name=$1-$2 s=$2; shift 2
    train "$out/$name" finetune run.seed="$s" run.steps="${COMPARE_STEPS:-400}" \
        $few run.eval_steps=200 optim.lr=1.5e-3 \
        data.train="$(list train $seen)" data.dev="$(list dev $seen)" data.limit_minutes=1.5 "$@"
    score "$name" "$name" $(tests $seen) > /dev/null
}
for s in $seeds; do
    OMP_NUM_THREADS=1 compare scratch "$s" optim.head_lr_scale=40 & other=$!
    OMP_NUM_THREADS=1 compare pretrained "$s" init="$out/pretrain/final" optim.head_lr_scale=15
    wait "$other"
done

# 7. One recording, transcribed.
recording=$out/data/it/audio/it-test-0000.flac
echo; echo "$recording:"
speechx transcribe "$recording" --model "$out/seen/best"; echo

# 8. One table, and the same as JSON.
runs() { local s all=""; for s in $seeds; do all+="${all:+,}$out/$1-$s.json"; done; echo "$all"; }
speechx report seen_per="$out/seen.json" scratch_per="$(runs scratch)" pretrained_per="$(runs pretrained)" \
    few_shot_per="$out/few_shot.json" $(for xx in $unseen; do echo "unseen.$xx=$out/$xx.json"; done) \
    seconds="$([ -e "$out/scored" ] && echo "$before" || echo $((before + SECONDS)))" seed="$seed" -o "$out/results.json"
[ -e "$out/scored" ] || { echo $((before + SECONDS)) > "$out/seconds"; touch "$out/scored"; }
}
