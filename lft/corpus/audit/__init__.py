"""People judge a sample of instructions: drawn by strata, rated in a browser, reported with intervals and agreement."""
