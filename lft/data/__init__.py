"""Examples to batches: sources, prompt formats, tokens, packing, audit."""
