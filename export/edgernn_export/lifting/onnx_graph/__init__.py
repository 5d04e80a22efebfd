"""Sequence models that come as ONNX: read into torch, so that they are lifted like any other."""
