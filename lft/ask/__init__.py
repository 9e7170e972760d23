"""Models that answer, and the ledger of what they said, so that no answer is paid for twice.

Nothing is imported here; take what you need from the file that has it:
``request`` (Request, Message, Sampling, Reply, Model) · ``opened`` (open_model, sampling_of) ·
``ledger`` (open_ledger, Ledger, Entry) · ``asking`` (ask) · ``meter`` (Limits, BudgetSpent).
Kinds of model: ``endpoint`` (OpenAI-compatible addresses), ``local`` and ``engine`` (transformers and vLLM in this
process); ``lft.corpus.cluster`` has datatrove's vLLM.
"""
