"""Adapters on their bases, strictly; the registry to come."""
