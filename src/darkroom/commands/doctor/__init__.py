"""`darkroom doctor`: what of this machine and project works, and the remedy for what does not."""
