"""The store, its splits, and the clips that leave it."""
