"""The benchmark: the service beside a plain loop (the ceiling) and a naive endpoint, in one run."""
