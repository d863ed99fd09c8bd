"""What a person reads: tables, figures, and the conclusions drawn from all rows of a sweep."""
