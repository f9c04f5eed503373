"""ONNX and OpenVINO graphs, and `bw.load` of them."""
