"""Model files of the user: their formats, and the shapes that they leave open."""
