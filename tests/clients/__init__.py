"""Other people's clients, as they come from PyPI, each in an environment of its own; `make test-clients` runs them."""
