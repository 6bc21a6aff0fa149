"""Functions that return a Recipe: one whole experiment, nothing hidden."""
