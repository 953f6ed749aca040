"""Decoders of .kmo and .mosaic files, written from docs/formats/ alone.

They import nothing of kolmo or momos, and are slow, for they are plain Python: an oracle for the
real decoders, and the proof that the pages say enough.
"""
