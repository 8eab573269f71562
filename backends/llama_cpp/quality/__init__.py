"""What quantising costs, measured: one file's probabilities against another's, text by text, never believed."""
