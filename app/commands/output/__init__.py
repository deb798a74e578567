"""What `roo-vision predict` writes: one file a format, all behind `base.Output`."""
