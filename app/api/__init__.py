"""The HTTP front: translates requests into the core's and the core's answers into responses, and nothing else."""
