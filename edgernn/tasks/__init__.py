"""Tasks: what a model is trained for; data, model, metric and artefact of each in a folder."""
