"""What both fronts say and understand: the options of a request and the shape of an answer."""
