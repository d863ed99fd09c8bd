"""Output for people: tables, figures, and the conclusions from all rows of a sweep."""
