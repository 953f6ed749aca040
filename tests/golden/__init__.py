"""Known bits of known weights, kept in files: see README.md."""
