"""Answers of models to suites of questions, scored with statistics that say how sure they are."""
