"""The record of a sweep on disk: plans, results, rows, noise floors, and the artifact cache."""
