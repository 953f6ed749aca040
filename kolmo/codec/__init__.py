"""Codes with a decoder to show for them."""
