"""Scene generator, training, evaluation and export of the shelf detector: `python -m models.shelf.training --help`."""
