"""Answers from tuned models; suites and metrics to come."""
