"""The changes that augmentation draws from, one file a kind."""
