"""Probes, baselines and intervals: what a frozen encoder is worth."""
