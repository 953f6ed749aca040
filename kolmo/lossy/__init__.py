"""Lossy descriptions: the shortest file of weights near enough to do the same."""
