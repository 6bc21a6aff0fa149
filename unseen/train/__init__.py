"""The loop, its optimiser, checkpoints and monitors."""
