"""`darkroom verify`: rebuild a commit from raw data, and compare the results with those that it contains."""
