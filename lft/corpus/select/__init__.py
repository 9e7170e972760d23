"""Which documents are taken: quality, language, duplicates, contamination, diversity, quotas."""

from lft.corpus.select.run import STEPS, select
from lft.corpus.select.take import GROUPS, read_groups

__all__ = ["GROUPS", "STEPS", "read_groups", "select"]
