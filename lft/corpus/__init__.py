"""Documents to instruction data: readers, selection, reverse instructions, screening, audit (arXiv 2304.08460)."""
