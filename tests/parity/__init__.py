"""Foreign models beside their own code; `make test-parity` has the environment for it."""
