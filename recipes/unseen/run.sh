#!/usr/bin/env bash
# Phonemes of languages without a label: train on some languages, score the held-out ones by every condition.
#
#   recipes/unseen/run.sh [DATA]
#
# DATA holds XX/{train,dev,test}.jsonl with phones, one folder per language; without it, espeak-ng speaks twelve
# languages. A finished stage is skipped, an interrupted one continues. Settings:
#   HELD_OUT   folds with spaces between: languages (commas between) that are held out together, all others train;
#              by default each language of DATA alone, or six of the twelve
#   SEEDS      default "1 2 3"
#   HEADS      objectives, default "ctc"; "ctc articulatory" trains both on equal terms
#   INIT       pretrained model, default none
#   TOPLINE    1 also trains one model per seed on all languages, to compare with; default 0
#   OUT, MINUTES (of synthetic training speech per language), SETTINGS (for every training, as in run.device=cuda)
set -euo pipefail
given=${1:-}
out=${OUT:-runs/unseen}
seeds=${SEEDS:-"1 2 3"}
heads=${HEADS:-ctc}
configs=$(dirname "$0")
. "$configs/../common.sh"

# shellcheck disable=SC2046,SC2086
{
# 1. The data, and the folds.
data=${given:-$out/data}
[ -n "$given" ] || prepare "$data" synthetic --minutes "${MINUTES:-15}" --seed 1 \
    $(for xx in es it de tr fi ru pt ca el hu nl pl; do echo --language $xx; done)
all=$(for file in "$data"/*/{train,dev,test}.jsonl; do
    [ ! -e "$file" ] || basename "$(dirname "$file")"
done | sort -u)
[ -n "$all" ] || fail "$data has no XX/{train,dev,test}.jsonl; expected a folder for each language XX"
[ -n "$given" ] && each=$all || each=pt,ca,el,hu,nl,pl
held_out=$(echo ${HELD_OUT:-$each} | sed 's/ *, */,/g')    # "pt, ca" is one fold
twice=$(tr ', ' '\n\n' <<< "$held_out" | sort | uniq -d)
[ -z "$twice" ] || fail "HELD_OUT names" $twice "twice; hold each language out once"
rest() { local xx; for xx in $all; do [[ ",$1," = *",$xx,"* ]] || echo "$xx"; done; }  # FOLD: what trains
for fold in $held_out; do
    for xx in ${fold//,/ }; do
        [[ " "$(echo $all)" " = *" $xx "* ]] || fail "HELD_OUT: $data has no language $xx; it has" $all
    done
    [ -n "$(rest "$fold")" ] || fail "HELD_OUT: with $fold held out, none is left to train on; $data has" $all
done
{ of train $all; of dev $all; of test ${held_out//,/ }; } | require_phones

# 2. An n-gram of phones for each held-out language: it needs text and G2P, but no audio.
mkdir -p "$out/ngrams"
for xx in ${held_out//,/ }; do
    ngram=$out/ngrams/$xx.safetensors
    [ -e "$ngram" ] || speechx lm train "$data/$xx/train.jsonl" --tokens phonemes --order 4 -o "$ngram" \
        --exclude "$data/$xx/dev.jsonl" "$data/$xx/test.jsonl" --drop-shared > /dev/null
done

# 3. One model per fold, head and seed, and its scores on the languages that it never had.
topline=${TOPLINE:-0} scores=$out/scores
[ "$topline" = 0 ] || scores=$out/scores_topline           # have one condition more
mkdir -p "$scores"
learn() {  # NAME HEAD SEED languages...
    local name=$1 head=$2 s=$3; shift 3
    train "$out/$name" finetune finetune objective.kind="$head" run.seed="$s" ${INIT:+init="$INIT"} \
        data.train="$(of train "$@" | list)" data.dev="$(of dev "$@" | list)" > /dev/null
}
unseen() {  # LANGUAGE NAME HEAD SEED
    local xx=$1 model=$out/$2/best result=$scores/$3-$1-$4.json inventory=$1 options=()
    [ -z "$given" ] || inventory=$data/$xx/train.jsonl     # not the shipped one
    [ "$topline" = 0 ] || options=(--topline "$out/topline-$4/best")
    [ -e "$result" ] || speechx evaluate --unseen --model "$model" --manifest "$data/$xx/test.jsonl" \
        --inventory "$inventory" --lm "$out/ngrams/$xx.safetensors" -o "$result" ${options[@]+"${options[@]}"} > /dev/null
}
for s in $seeds; do
    [ "$topline" = 0 ] || learn "topline-$s" ctc "$s" $all
    for fold in $held_out; do
        for head in $heads; do
            learn "$head-$fold-$s" "$head" "$s" $(rest "$fold")
            for xx in ${fold//,/ }; do unseen "$xx" "$head-$fold-$s" "$head" "$s"; done
        done
    done
done

# 4. One table: means over the seeds, and their spread.
results=()
for head in $heads; do
    for xx in ${held_out//,/ }; do
        results+=("$head.$xx=$(for s in $seeds; do echo "$scores/$head-$xx-$s.json"; done | paste -sd, -)")
    done
done
speechx report -o "$out/results.json" "${results[@]}" seeds="$(echo $seeds | wc -w)"
}
