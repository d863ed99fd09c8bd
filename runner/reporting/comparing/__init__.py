"""Sweeps held against each other."""
