"""The embedded apron: scenes, sensors and truth, written as a store like any other source."""
