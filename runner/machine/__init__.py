"""This machine: what it is, what is installed on it, and what disturbs a measurement on it."""
