"""Writes linear.onnx: out = relu(x W + b) for 19 features and two targets, and prints what onnx's reference
implementation gives for a row of 1, 2, ..., 19.

usage: linear_onnx.py OUT.onnx      (needs numpy and onnx)
"""
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from onnx.reference import ReferenceEvaluator

weights = ((np.arange(38).reshape(19, 2) * 5 % 11 - 4) / 10).astype(np.float32)
bias = np.array([0.5, -0.25], dtype=np.float32)
graph = helper.make_graph(
    [helper.make_node("Gemm", ["x", "w", "b"], ["y"]), helper.make_node("Relu", ["y"], ["out"])],
    "linear",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 19])],
    [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, 2])],
    [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
save(model, sys.argv[1])
row = np.arange(1, 20, dtype=np.float32).reshape(1, 19)
print(ReferenceEvaluator(model).run(None, {"x": row})[0])
