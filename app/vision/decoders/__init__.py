"""The shapes in which detectors give their answers: one class a shape, one file a family of shapes."""
