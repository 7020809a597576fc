"""What the installed packages ship, as clean Python objects."""
