"""ONNX files: their graphs, ranges and metadata."""
