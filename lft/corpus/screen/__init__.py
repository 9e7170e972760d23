"""Which pairs are kept: rules, similarity, the round trip, a judge; each leaves its score in the row."""
