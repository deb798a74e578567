"""What a user measures on their own machine: the service under load, its engines side by side, the demonstration."""
