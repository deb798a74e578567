"""One file a family: its model with random weights, exported, and its own way from a file to detections."""
