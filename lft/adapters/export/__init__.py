"""Adapters leave the registry: merged into their base, as PEFT folders, as GGUF, and for the servers that read them."""
