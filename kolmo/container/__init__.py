"""The .kmo file: what is packed, in which order, and how it is checked."""
