"""WHAT is predicted and its loss: one target a file."""
