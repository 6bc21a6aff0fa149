"""The objective: clip -> MaskedBatch -> loss per unit."""
