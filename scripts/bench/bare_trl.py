"""The bare TRL script that `lft` is measured against: what its documentation says, with CPU defaults set right.

    python scripts/bench/bare_trl.py BEGAN MODEL DATA OUT METHOD '{"per_device_train_batch_size": 4, ...}'

METHOD is lora, qlora or full. TRL's own CPU traps (bf16 autocast and checkpointing, 3.5 times slower; adapters in bf16
on a quantized base, whose steps AdamW loses) are avoided, so that the ratio is fair. BEGAN is the monotonic clock when
this process was started. Prints one JSON line; under torchrun, the first process does.
"""

from __future__ import annotations

import json
import sys

from material import ALPHA, RANK
from measure import Clock, train_measured


def main(process_began: str, model: str, data: str, out: str, method: str, options: str) -> None:
    clock = Clock(float(process_began))
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
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
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    lora = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(
            model, dtype=torch.float32, quantization_config=nf4 if method == "qlora" else None
        ),
        args=arguments,
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=None if method == "full" else lora,
    )
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    train_measured(trainer, clock)


if __name__ == "__main__":
    main(*sys.argv[1:7])
