"""Layers that compute with motifs and indices as they are, never with all weights at once."""
