"""The processes of a run: launching, communicating, freezing and ending them."""
