"""What the program promises about itself, measured: each module prints a table. ``make bench`` runs them all."""
