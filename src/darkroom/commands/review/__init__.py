"""`darkroom review`: what a pull request changes."""
