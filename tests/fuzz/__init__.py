"""Inputs by the million: files that are damaged, and files that are written wrong in few places.

    python -m tests.fuzz                                   every fuzzer, 1,000 inputs of each
    python -m tests.fuzz GGUF ONNX --minutes 30 --jobs 2   those whose names begin so, for a while
    python -m tests.fuzz GGUF --first 5000 --count 10      seeds 5000 to 5009

A module ``of_….py`` of this folder adds its ``FUZZERS``. Of each input comes a KolmoError or what
was asked for, within `limits.SECONDS` of the processor's time and `limits.MEMORY` bytes beyond what
the program takes; anything else is a fault, and the table counts the faults by their kinds.
"""
