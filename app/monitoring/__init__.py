"""What is read from the running service whenever somebody looks."""
