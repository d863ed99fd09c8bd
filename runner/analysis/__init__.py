"""Statistics, accuracy and comparison with published tables, as pure functions."""
