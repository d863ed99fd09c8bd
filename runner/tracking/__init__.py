"""Recording in MLflow, and reading it back; the only package that imports it. Never spoken to in a timed phase.

One parent run per sweep, one child per configuration. The run folder's result.json is the truth: where the store
cannot be reached the sweep goes on, says so once, and ``python -m runner.tracking sync`` records it later.
"""
