"""Encoders, predictors and their exchange formats: draw no masks, compute no losses."""
