"""Codes of a tensor given another one, its base."""
