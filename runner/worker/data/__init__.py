"""Data sets: the images and texts that calibrate a model and that it is judged on."""
