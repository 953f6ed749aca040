"""What a tensor costs once another one, its base, is known."""
