"""This machine: its hardware, its installed software, and what disturbs a measurement on it."""
