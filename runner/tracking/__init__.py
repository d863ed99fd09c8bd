"""Recording in MLflow and reading back; the only package that imports MLflow. Never called in a timed phase.

One parent run per sweep, one child run per configuration. The run folder's result.json is authoritative: if the store
is unreachable, the sweep reports it once and continues, and ``runner sync`` records the results later.
"""
