"""Geometry that every room shares: cameras, poses, grids."""
