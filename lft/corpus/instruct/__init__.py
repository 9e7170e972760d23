"""Reverse instructions: from a document to the instruction that it answers (arXiv 2304.08460, section 2)."""
