"""Codes: symbols to bytes and back, each with a decoder and a number of its own."""
