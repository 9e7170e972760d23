"""Merging as algebra on dW: exact sums, rules on dense differences by row block, rules in subspaces, PEFT's own ways.

Everything acts on dW = b a, never on A and B apart (only ``compat:peft-*`` does, because PEFT does). Take what you
need from the file that has it: ``table`` (METHODS, require_method) · ``exact`` (cat, model_stock, inner, cosine) ·
``subspace`` (knots, core_space, tsv_m) · ``sparse`` (ties, dare, della, breadcrumbs, magnitude) · ``compat`` and
``peft`` · ``compress`` (compress, compress_dense, spectrum) · ``rowwise`` (Dense, Surface, largest, Draws).
"""
