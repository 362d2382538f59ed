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
# 1. The data: manifests, and where the inventory of a language comes from.
data=${given:-$out/data}
inventory="{language}"                                     # shipped
[ -z "$given" ] || inventory="$data/{language}/train.jsonl"  # every phone of its training text
[ -n "$given" ] || prepare "$data" synthetic --minutes "${MINUTES:-15}" --seed 1 \
    $(for xx in es it de tr fi ru pt ca el hu nl pl; do echo --language $xx; done)
all=$(cd "$data"; for file in */test.jsonl; do dirname "$file"; done)
held_out=${HELD_OUT:-$([ -n "$given" ] && echo $all || echo pt,ca,el,hu,nl,pl)}
for fold in $held_out; do
    seen=""
    for xx in $all; do [[ ",$fold," = *",$xx,"* ]] || seen+=" $xx"; done
    for xx in ${fold//,/ }; do
        [[ " "$(echo $all)" " = *" $xx "* ]] || { echo "HELD_OUT: $data has no language $xx; it has "$all >&2; exit 1; }
    done
    [ -n "$seen" ] || { echo "HELD_OUT: with $fold held out, none is left to train on" >&2; exit 1; }
done
of() { local split=$1 xx; shift; for xx in "$@"; do echo "$data/$xx/$split.jsonl"; done; }

# 2. An n-gram of phones for each held-out language: it needs text and G2P, but no audio.
for xx in $(echo $held_out | tr ', ' '\n\n' | sort -u); do
    ngram=$out/ngrams/$xx.safetensors; mkdir -p "$out/ngrams"
    [ -e "$ngram" ] || speechx lm train $(of train $xx) --tokens phonemes --order 4 -o "$ngram" \
        --exclude $(of dev $xx) $(of test $xx) --drop-shared > /dev/null
done

# 3. One model per fold, head and seed, and its scores on the languages that it never had.
learn() {  # NAME HEAD SEED languages...
    local name=$1 head=$2 s=$3; shift 3
    train "$out/$name" finetune finetune objective.kind="$head" run.seed="$s" ${INIT:+init="$INIT"} \
        data.train="$(of train "$@" | list)" data.dev="$(of dev "$@" | list)" > /dev/null
}
for s in $seeds; do
    [ "${TOPLINE:-0}" = 0 ] || learn "topline-$s" ctc "$s" $all
    for fold in $held_out; do
        unseen=${fold//,/ } seen=""
        for xx in $all; do [[ " $unseen " = *" $xx "* ]] || seen+=" $xx"; done
        for head in $heads; do
            name=$head-$fold-$s
            learn "$name" "$head" "$s" $seen
            for xx in $unseen; do
                result=$out/scores/$head-$xx-$s.json; mkdir -p "$out/scores"
                [ -e "$result" ] || speechx evaluate --unseen --model "$out/$name/best" --manifest $(of test $xx) \
                    --inventory "$inventory" --lm "$out/ngrams/{language}.safetensors" -o "$result" \
                    $([ "${TOPLINE:-0}" = 0 ] || echo --topline "$out/topline-$s/best") > /dev/null
            done
        done
    done
done

# 4. One table: means over the seeds, and their spread.
for head in $heads; do
    for xx in ${held_out//,/ }; do
        echo "$head.$xx=$(for s in $seeds; do echo "$out/scores/$head-$xx-$s.json"; done | paste -sd,)"
    done
done | xargs -d '\n' speechx report -o "$out/results.json" seeds="$(echo $seeds | wc -w)"
}
