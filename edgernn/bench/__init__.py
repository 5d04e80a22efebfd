"""The same weights through edgernn and through other runtimes, their steps interleaved in one run."""
