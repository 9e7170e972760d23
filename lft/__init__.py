"""LongForm tuning: recipes, adapters, reverse instructions and honest evaluation for long text."""

__version__ = "0.1.0"
