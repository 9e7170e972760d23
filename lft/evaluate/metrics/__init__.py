"""Metrics of answers: METEOR, n-gram overlap, lengths, repetition, endings, losses; all of them offline.

``table.METRICS`` holds them by name, ``scoring.score_rows`` measures rows of several languages with several of them.
"""
