#!/usr/bin/env bash
# From nothing to a scored multilingual model on two CPU cores, in about ten minutes.
# Every stage is skipped when its output is there, so a rerun resumes by itself.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=${OUT:-runs/tiny}
seed=${SEED:-1}
minutes=${MINUTES:-12}                     # of training speech per language
seeds=${SEEDS:-"1 2 3"}                    # of the comparison with and without pretraining
read -ra more <<< "${SETTINGS:-}"          # further settings for every training, as in run.steps=10
heard="es it de tr fi ru"                  # languages with labels
unseen="pt ca el hu"                       # languages without: pretraining hears them, fine-tuning does not
begun=$SECONDS

manifests() { local split=$1 all="" xx; shift; for xx in "$@"; do all+="${all:+,}$out/data/$xx/$split.jsonl"; done; echo "[$all]"; }
finetune() { speechx finetune recipes/tiny/finetune.yaml "$@" "${more[@]}" > /dev/null; }

# 1. Ten languages spoken by espeak-ng: test voices and test sentences are never heard in training.
# shellcheck disable=SC2086
[ -e "$out/data/done" ] || { speechx data prepare synthetic -o "$out/data" --minutes "$minutes" --seed "$seed" > /dev/null; touch "$out/data/done"; }

# 2. One self-supervised model of the sound of all ten.
# shellcheck disable=SC2086
[ -e "$out/pretrain/final" ] || speechx pretrain recipes/tiny/pretrain.yaml out="$out/pretrain" run.seed="$seed" \
    data.train="$(manifests train $heard $unseen)" data.valid="$(manifests dev $heard $unseen)" "${more[@]}" > /dev/null

# 3. Phonemes of six languages, from the pretrained model.
# shellcheck disable=SC2086
[ -e "$out/seen/best" ] || finetune out="$out/seen" init="$out/pretrain/final" run.seed="$seed" \
    data.train="$(manifests train $heard)" data.dev="$(manifests dev $heard)"
# shellcheck disable=SC2086
[ -e "$out/seen.json" ] || speechx evaluate --model "$out/seen/best" -o "$out/seen.json" \
    --manifest $(for xx in $heard; do echo "$out/data/$xx/test.jsonl"; done)

# 4. Languages without a label: through the articulatory mapping, beside its controls.
for xx in $unseen; do
    [ -e "$out/$xx.json" ] || speechx evaluate --model "$out/seen/best" --language "$xx" \
        --manifest "$out/data/$xx/test.jsonl" -o "$out/$xx.json"
done

# 5. One of them again, after two labelled minutes.
[ -e "$out/few_shot/best" ] || finetune out="$out/few_shot" init="$out/seen/best" run.seed="$seed" run.steps="${FEW_STEPS:-120}" \
    data.train="$(manifests train pt)" data.dev="$(manifests dev pt)" data.limit_minutes=2
[ -e "$out/few_shot.json" ] || speechx evaluate --model "$out/few_shot/best" --manifest "$out/data/pt/test.jsonl" -o "$out/few_shot.json"

# 6. What pretraining adds with few labels: the same updates with and without it, side by side, each with
#    the learning rates that were best for it on dev.
# shellcheck disable=SC2086
compare() {  # NAME SEED settings...
    local name=$1 s=$2; shift 2
    [ -e "$out/$name-$s/best" ] || finetune out="$out/$name-$s" run.seed="$s" run.steps="${COMPARE_STEPS:-250}" \
        data.train="$(manifests train $heard)" data.dev="$(manifests dev $heard)" data.limit_minutes=1.5 "$@"
    [ -e "$out/$name-$s.json" ] || speechx evaluate --model "$out/$name-$s/best" -o "$out/$name-$s.json" \
        --manifest $(for xx in $heard; do echo "$out/data/$xx/test.jsonl"; done) > /dev/null
}
for s in $seeds; do
    OMP_NUM_THREADS=1 compare scratch "$s" &
    OMP_NUM_THREADS=1 compare pretrained "$s" init="$out/pretrain/final"
    wait
done

# 7. One recording, transcribed.
echo "A test recording: $out/data/it/audio/it-test-0000.flac"
speechx transcribe "$out/data/it/audio/it-test-0000.flac" --model "$out/seen/best"

# 8. One table, and the same as JSON.
files() { for s in $seeds; do echo "$out/$1-$s.json"; done | paste -sd,; }
speechx report seen_per="$out/seen.json" scratch_per="$(files scratch)" pretrained_per="$(files pretrained)" \
    few_shot_per="$out/few_shot.json" $(for xx in $unseen; do echo "unseen.$xx=$out/$xx.json"; done) \
    seconds=$((SECONDS - begun)) seed="$seed" -o "$out/results.json"
