"""Prints the training and test series of a data set that comes with aeon: one a line, class first.

usage: ucr.py NAME train|test      (needs aeon installed; nothing of it is imported)
"""
import importlib.util
import pathlib
import sys

name, part = sys.argv[1:]
package = pathlib.Path(importlib.util.find_spec("aeon").origin).parent
for line in (package / "datasets" / "data" / name / f"{name}_{part.upper()}.ts").read_text().splitlines():
    if line and line[0] not in "@#":
        values, label = line.rsplit(":", 1)
        print(label.strip(), *values.split(","))
