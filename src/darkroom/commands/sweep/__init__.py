"""`darkroom sweep`: a search for better training parameters, every trial of which is a DVC experiment."""
