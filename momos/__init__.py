"""momos: train networks that are a mosaic of motifs, and study how simple they are."""
