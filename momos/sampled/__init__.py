"""Sampled mosaics: motifs are drawn from the network's own blocks."""
