"""Labels that may be wrong, found by confident learning and checked with planted errors."""
