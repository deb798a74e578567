"""What is on disk: `models/<name>/model.yaml` and `models/<name>/<version>/`."""
