"""One reader a source format, each a pure function from a source to logs of a store."""
