"""Masked modelling for driving logs."""
