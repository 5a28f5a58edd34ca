"""Learning curves: what more images of a class, or of all classes, would bring."""
