"""The run: model, method, rows, trainer, run folder."""
