"""One sweep on several machines: its parts, and one record of them."""
