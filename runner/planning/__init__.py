"""From a command line to the runs that it asks for, and what is left of them when a sweep is resumed."""
