"""Numbers in, numbers out: statistics, accuracy, comparison with published tables. Pure functions."""
