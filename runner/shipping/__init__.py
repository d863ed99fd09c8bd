"""A measured row as a folder that runs without this program, and the check that it is what was measured."""
