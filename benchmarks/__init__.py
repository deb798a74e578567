"""Computations about the service that need no service."""
