"""Tensors in, tensors out: one small protocol, one file an engine."""
