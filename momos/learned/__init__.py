"""Learned mosaics: motifs and assignment are trained with the network."""
