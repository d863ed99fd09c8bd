"""Weights that need no training, and react to quantisation much as trained ones do; and how well they do so."""
