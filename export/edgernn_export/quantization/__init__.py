"""Quantization: weights in fewer bits, quality measured before and after."""
