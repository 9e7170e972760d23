"""What `lft plan` says for settings whose memory others have published: a Markdown table for docs/memory.md.

    python scripts/bench/memory_published.py

Their code is not lft's: the last column says what makes the difference. Figures are gathered in the project's notes on
its peers; a setting that the publisher does not state is marked "assumed".
"""

from __future__ import annotations

from dataclasses import dataclass

GB = 1e9
GIB = 2**30

LLAMA_65B = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
    "intermediate_size": 22016, "tie_word_embeddings": False,
}  # fmt: skip


@dataclass(frozen=True)
class Published:
    source: str
    base: str
    setting: str  # overrides of the recipe, separated by spaces
    length: int
    micro: int
    figure: float  # in `unit`
    unit: float
    why: str
    device: str = "A100-80GB"


LORA = "method.kind=lora method.r=8"
KEPT = "train.gradient_checkpointing=false"
QV = "method.target_modules=[q_proj,v_proj]"
L2, L3, L8 = "meta-llama/Llama-2-7b-hf", "meta-llama/Llama-3.2-3B", "meta-llama/Llama-3.1-8B"
ROWS = (
    Published(
        "torchtune README", L8, "method.kind=full train.optimizer=paged_adamw_8bit", 512, 2, 18.9, GIB,
        "updates each weight inside the backward pass: the gradients (15 GiB) never exist; states (15 GiB) paged out",
        "RTX4090",
    ),
    Published(
        "torchtune README", L8, LORA, 512, 2, 16.2, GIB,
        "2 x 512 tokens assumed", "RTX4090",
    ),
    Published(
        "torchtune README", L8, f"{LORA} base.quantize=nf4", 512, 2, 7.4, GIB,
        "2 x 512 tokens assumed", "RTX4090",
    ),
    Published(
        "torchtune ladder", L3, LORA, 512, 4, 8.5, GIB,
        "4 x 512 tokens assumed; torchtune chunks its loss in 8 parts, lft by 256 positions",
    ),
    Published(
        "torchtune ladder", L3, f"{LORA} base.quantize=nf4", 512, 4, 4.6, GIB,
        "as above; 1 GiB is not explained",
    ),
    Published(
        "litgpt", L2, f"{LORA} {QV} {KEPT}", 1304, 1, 21.30, GB,
        "assumed: its longest Alpaca row, about 1,300 tokens, comes first; it holds all its logits",
    ),
    Published(
        "litgpt", L2, f"{LORA} {QV} base.quantize=nf4 {KEPT}", 1304, 1,
        14.14, GB, "as above; 3 GB are not explained (nf4 saves 7.2 GB there, 9.5 GB by counting)",
    ),
    Published(
        "litgpt, A10G", L2, f"method.kind=lora method.r=32 {QV} {KEPT}",
        1304, 1, 19.77, GB, "as the first", "A10G",
    ),
    Published(
        "PEFT MetaMathQA", L3, f"method.kind=full {KEPT}", 768, 4, 36.2, GIB,
        "its step keeps the logits of 4 x 768 positions (128 k words); lft adds AdamW's scratch",
    ),
    Published(
        "PEFT MetaMathQA", L3,
        f"method.kind=lora method.r=32 {QV} {KEPT}", 768, 4, 20.8, GIB,
        "the logits of the whole batch there, 1.5 GiB a float32 copy, three to four copies",
    ),
    Published(
        "PEFT MetaMathQA", L3,
        f"method.kind=rslora method.r=64 {QV} {KEPT}", 768, 4, 21.0, GIB, "as above",
    ),
    Published(
        "PEFT MetaMathQA", L3,
        f"method.kind=dora method.r=32 {QV} {KEPT}", 768, 4, 22.8, GIB, "as above",
    ),
    Published(
        "PEFT README", "bigscience/T0_3B", f"method.kind=full {KEPT}", 512, 1, 47.14, GB,
        "trains in float32 (16 bytes a parameter); lft's bfloat16 takes 8",
    ),
    Published(
        "PEFT README", "bigscience/T0_3B", f"method.kind=full base.dtype=float32 {KEPT}", 512, 1, 47.14, GB,
        "the same in float32",
    ),
    Published(
        "PEFT README", "bigscience/T0_3B", f"method.kind=lora method.r=8 base.dtype=float32 {KEPT}", 512, 1, 14.4, GB,
        "1 x 512 tokens on either side assumed; float32",
    ),
    Published(
        "LLaMA-Factory table", "huggyllama/llama-7b", "method.kind=full base.dtype=float32", 1024, 1, 120, GB,
        "a rule of 16 bytes a parameter and some for activations", "H200",
    ),
    Published(
        "LLaMA-Factory table", "huggyllama/llama-7b", "method.kind=full", 1024, 1, 60, GB,
        "a rule of 8 bytes; lft counts AdamW's scratch too (2 bytes)",
    ),
    Published("LLaMA-Factory table", "huggyllama/llama-7b", LORA, 1024, 1, 16, GB, "a rule"),
    Published("LLaMA-Factory table", "huggyllama/llama-7b", f"{LORA} base.quantize=nf4", 1024, 1, 6, GB, "a rule"),
    Published("ms-swift", "huggyllama/llama-7b", f"{LORA} base.quantize=nf4", 2048, 1, 9, GB, "length not stated"),
    Published(
        "QLoRA paper", "llama-65b", "method.kind=lora method.r=64 base.quantize=nf4", 512, 1, 48, GB,
        "fits, says the paper: its 800 M adapter parameters in 16 bit, states paged; float32 and unpaged here", "A6000",
    ),
)  # fmt: skip


def predicted(row: Published) -> tuple[float, float]:
    """Tensors alone (what torch counts), and with the CUDA context, in the publisher's unit."""
    from lft.plan.configs import known_config
    from lft.plan.families import shape_of
    from lft.plan.hardware import parse_hardware
    from lft.plan.memory import memory_of
    from lft.plan.setup import setup_of
    from lft.recipe import load_recipe

    overrides = [
        f"base.model={row.base}", f"data.max_length={row.length}", "data.eoi=text", "method.dropout=0.0",
        f"train.micro_batch_size={row.micro}", f"train.global_batch_size={row.micro}", "base.dtype=bfloat16",
    ]  # fmt: skip
    recipe = load_recipe("llama7b-lora", [*overrides, *row.setting.split()], allow_unsupported=True).recipe
    shape = shape_of(known_config(row.base) or LLAMA_65B)
    memory = memory_of(setup_of(recipe, shape, parse_hardware(row.device), row.micro))
    return (memory.total - memory.framework) / row.unit, memory.total / row.unit


def main() -> None:
    print("| published by | base, setting, rows x tokens | published | lft: tensors | with context | deviation | why |")
    print("|---|---|---:|---:|---:|---:|---|")
    for row in ROWS:
        tensors, whole = predicted(row)
        unit = "GiB" if row.unit == GIB else "GB"
        setting = row.setting.replace("method.", "").replace("train.", "").replace("base.", "")
        print(
            f"| {row.source} | {row.base.rsplit('/', 1)[-1]}, {setting}, {row.micro} x {row.length} | "
            f"{row.figure:.1f} {unit} | {tensors:.1f} | {whole:.1f} | {tensors / row.figure - 1:+.0%} | {row.why} |"
        )


if __name__ == "__main__":
    main()
