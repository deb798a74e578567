"""From what is on disk to what answers: loaded, tried, warm."""
