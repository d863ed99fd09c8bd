"""Measuring: a session is one command, a sweep all its runs, a run one configuration beside its baseline."""
