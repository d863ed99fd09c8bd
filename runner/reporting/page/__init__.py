"""Pages: a sweep or a comparison as one HTML file that needs no server, no network and no other file."""
