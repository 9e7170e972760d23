"""The bare transformers script that `lft` is measured against on T5, as the documentation has it.

    python scripts/bench/bare_seq2seq.py BEGAN MODEL DATA OUT METHOD '{"per_device_train_batch_size": 4, ...}'

METHOD is lora or full. T5's forward takes any argument, so Trainer believes that the loss is already divided by the
labels of the global batch; `compute_loss_func` does divide it (the documented way), else loss and gradients would grow
by the accumulation. BEGAN is the monotonic clock when this process was started. Prints one JSON line.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from material import ALPHA, LENGTH, RANK
from measure import Clock, train_measured


def main(process_began: str, model: str, data: str, out: str, method: str, options: str) -> None:
    clock = Clock(float(process_began))
    import torch
    from datasets import load_dataset
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForSeq2SeqLM,
        AutoTokenizer,
        DataCollatorForSeq2Seq,
        Seq2SeqTrainer,
        Seq2SeqTrainingArguments,
    )

    torch.manual_seed(42)
    tokenizer = AutoTokenizer.from_pretrained(model)

    def tokens(rows: dict[str, list[str]]) -> dict[str, Any]:
        read = tokenizer(rows["prompt"], text_target=rows["completion"], max_length=LENGTH, truncation=True)
        return {key: read[key] for key in ("input_ids", "attention_mask", "labels")}

    def mean_loss(outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor:
        scores = outputs.logits.flatten(0, 1)
        return torch.nn.functional.cross_entropy(scores, labels.flatten(), reduction="sum") / num_items_in_batch

    rows = load_dataset("json", data_files=data, split="train")
    rows = rows.map(tokens, batched=True, remove_columns=rows.column_names)
    base = AutoModelForSeq2SeqLM.from_pretrained(model, dtype=torch.float32)
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="SEQ_2_SEQ_LM")
    tuned = base if method == "full" else get_peft_model(base, lora)
    arguments = Seq2SeqTrainingArguments(
        output_dir=out,
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        logging_steps=1,
        num_train_epochs=1,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        warmup_steps=0.03,
        seed=42,
        data_seed=42,
        optim="adamw_torch",
        **json.loads(options),
    )
    trainer = Seq2SeqTrainer(
        model=tuned,
        args=arguments,
        train_dataset=rows,
        processing_class=tokenizer,
        data_collator=DataCollatorForSeq2Seq(tokenizer, model=tuned),
        compute_loss_func=mean_loss,
    )
    train_measured(trainer, clock)


if __name__ == "__main__":
    main(*sys.argv[1:7])
