"""Results (JSON) become one HTML page."""
