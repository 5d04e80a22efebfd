"""Speech: what was said and how it sounds; the data and the judges of models that speak."""
