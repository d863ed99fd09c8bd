"""Data sets: images and texts for calibration and for accuracy."""
