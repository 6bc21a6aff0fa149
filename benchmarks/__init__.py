"""Ratios against peers: alternating in one process, one thread, CPU clock. Never part of the package."""
