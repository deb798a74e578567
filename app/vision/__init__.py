"""Pixels in, arrays out: decoding, preprocessing, and what each task makes of a model's outputs. Pure functions."""
