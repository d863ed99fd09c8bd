"""Recording in MLflow, and reading it back; the only package that imports it. Never spoken to in a timed phase.

One parent run per sweep, one child per configuration. The run folder's result.json is the truth: if the store
cannot be reached the sweep continues, reports it once, and ``runner sync`` records it later.
"""
