"""From results to words and documents: reads results, computes none."""
