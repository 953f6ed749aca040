"""Mosaics inside other people's training loops."""
