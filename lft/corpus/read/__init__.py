"""Sources to documents: one reader a kind of place, cleaning, language, even draws; on datatrove, in parts."""

from lft.corpus.read.run import read_sources

__all__ = ["read_sources"]
