"""Writes wide.onnx: out = the mean of 19 features, by way of a tensor of COPIES copies of it, and prints what onnx's reference
implementation gives for a row of 1, 2, ..., 19. A file of a few hundred bytes that needs 4 * COPIES bytes for each row.

usage: wide_onnx.py OUT.onnx [COPIES]      (needs numpy and onnx)
"""
import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save
from onnx.reference import ReferenceEvaluator

copies = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
graph = helper.make_graph(
    [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Tile", ["mean", "copies"], ["wide"]),
        helper.make_node("ReduceMean", ["wide"], ["out"], axes=[1], keepdims=1),
    ],
    "wide",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 19])],
    [helper.make_tensor_value_info("out", TensorProto.FLOAT, [None, 1])],
    [numpy_helper.from_array(np.array([1, copies], dtype=np.int64), "copies")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
save(model, sys.argv[1])
row = np.arange(1, 20, dtype=np.float32).reshape(1, 19)
if copies <= 1_000_000:
    print(ReferenceEvaluator(model).run(None, {"x": row})[0])
