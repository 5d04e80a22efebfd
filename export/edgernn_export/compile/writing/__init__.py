"""Writing a program as C99."""
