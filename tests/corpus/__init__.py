"""Checkpoints in the forms that people have them in, and hostile ones."""
