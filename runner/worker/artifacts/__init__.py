"""Artifacts that are costly to make, cached by what they depend on."""
