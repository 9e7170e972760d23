"""The base model: resolve it (hub, folder, GGUF, installed package), check it, load it, add tokens, fingerprint it.

Nothing is imported here; take what you need from the file that has it:
``resolve`` (resolve_base, BaseRef) · ``headers`` (read_headers) · ``fingerprint`` (fingerprint) ·
``load`` (load_tokenizer, load_model, ensure_pad) · ``tokens`` (add_tokens, token_training) ·
``device`` (device_and_dtype) · ``decode`` (generate).
"""
