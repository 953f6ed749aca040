"""What a mosaic is: blocks, motifs, assignment, and its file."""
