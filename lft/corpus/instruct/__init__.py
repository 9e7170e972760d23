"""Reverse instructions: from a document to the instruction that it answers (arXiv 2304.08460, section 2).

Nothing is imported here; take what you need from the file that has it:
``run`` (instruct, estimate, LEDGER, PAIRS) · ``length`` (true_clauses, with_clause) · ``sentences`` (sentences,
paragraphs) · ``clean`` (cleaned) · ``prompts`` (frame, asked) · ``plan`` (question, style_of) · ``draw`` (share).
"""
