"""The bare TRL script that `lft` is measured against: what its documentation says, with CPU defaults set right.

    python scripts/bench/bare_trl.py MODEL DATA OUT '{"per_device_train_batch_size": 4, ...}'

TRL's own CPU traps (bf16 autocast and checkpointing, 3.5 times slower) are avoided, so that the ratio is fair.
Prints one JSON line.
"""

from __future__ import annotations

import json
import resource
import sys
import time


def main(model: str, data: str, out: str, options: str) -> None:
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    torch.manual_seed(42)
    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = load_dataset("json", data_files=data, split="train")
    rows = rows.map(lambda row: {"prompt": row["prompt"] + " [EOI]", "completion": row["completion"]})
    arguments = SFTConfig(
        output_dir=out,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
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
        **{"max_length": 512, **json.loads(options)},
    )
    began: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *_: object, **__: object) -> None:
            began.append(time.monotonic())

    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32),
        args=arguments,
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Clock()],
    )
    supervised = sum(sum(label != -100 for label in row) for row in trainer.train_dataset["labels"])
    trainer.train()
    seconds = time.monotonic() - began[0]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    tail = losses[-max(len(losses) // 5, 1) :]
    print(
        json.dumps(
            {
                "supervised": supervised * trainer.state.num_train_epochs,
                "steps": trainer.state.global_step,
                "seconds": seconds,
                "final_loss": sum(tail) / len(tail),
                "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:5])
