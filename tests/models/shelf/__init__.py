"""Tests of the shelf detector: generator, training, committed model."""
