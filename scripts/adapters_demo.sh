#!/usr/bin/env bash
# The life of adapters, from two trainings to a model that others load: docs/adapters.md walks through it.
#
#     make .venv/.quickstart-base && scripts/adapters_demo.sh [FOLDER]
#
# Trains a German and a recipes adapter on the quickstart's base, registers, compares, merges, stacks and scores them,
# exports the merge in five forms and loads each with its own client, gives it away through a hub that runs here, and
# takes it from there on "another machine" (a clean home) by its lock file. Nothing outside FOLDER is touched.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(realpath -m "${1:-demo}")
mkdir -p "$work"
export PATH="$PWD/.venv/bin:$PATH" LFT_HOME="$work/home" OMP_NUM_THREADS="${OMP_NUM_THREADS:-$(nproc)}"

say() { printf '\n== %s\n' "$*"; }
run() { printf '$ %s\n' "$*"; "$@"; }

say "two domains out of the sample data: German, and recipes"
python scripts/demo_data.py "$work/data"

say "train an adapter on each"
declare -A tags=([de]="{lang: [de], domain: [general]}" [recipes]="{lang: [en, es, fr, ru], domain: [recipes]}")
for domain in de recipes; do
  run lft finetune quickstart name="demo-$domain" data.train="$work/data/$domain.jsonl" data.eoi=text \
    train.epochs=3 'train.sample_prompts=[]' output.adapter="demo/$domain" output.runs="$work/runs" \
    "output.tags=${tags[$domain]}"
  run lft adapters add "$(ls -d "$work/runs/demo-$domain"/* | tail -1)"
done

say "what is there, and how the two get on"
run lft adapters list
run lft adapters advise demo/de demo/recipes

say "merge them into one, or keep both active with a weight each"
run lft adapters merge "0.5*demo/de + 0.5*demo/recipes" --name demo/merged
run lft adapters stack "0.5*demo/de + 0.5*demo/recipes" --name demo/both
run lft adapters show demo/merged

say "perplexity on held-out examples of both domains"
run python scripts/perplexity.py --data german="$work/data/de-held.jsonl" --data recipes="$work/data/recipes-held.jsonl" \
  demo/de demo/recipes demo/merged demo/both

say "five exports of the merge, each loaded by the tool that people will use"
run lft adapters export demo/merged --to merged --out "$work/out/model"
run lft adapters export demo/merged --to peft --out "$work/out/peft"
run lft adapters export demo/merged --to gguf --out "$work/out/model.gguf"
run lft adapters export demo/merged --to gguf-lora --out "$work/out/lora.gguf"
run lft adapters export demo/merged --to ollama --out "$work/out/ollama"
run python scripts/demo_clients.py "$work/out"

say "give it to a hub, pin it, take it from there on another machine"
run python scripts/demo_hub.py "$work" demo/merged demo/de demo/recipes
