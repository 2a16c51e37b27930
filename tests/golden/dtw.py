"""Writes dtw.csv: distances by dtaidistance's C of 10,000 pairs of series that a reader can make again.

A pair's series come from splitmix64 with the pair's number as the seed: length n, length m, window, then n + m steps in
[-1, 1), summed to two walks. A window of 0 is none.

usage: dtw.py OUT.csv      (needs numpy and dtaidistance 2.5.1)
"""
import sys

import numpy as np
from dtaidistance import dtw

MASK = (1 << 64) - 1


class Random:
    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n

    def step(self):
        return (self.next() >> 11) / float(1 << 53) * 2.0 - 1.0


def walk(random, length):
    level, values = 0.0, []
    for _ in range(length):
        level += random.step()
        values.append(level)
    return np.array(values)


with open(sys.argv[1], "w") as out:
    out.write("n,m,window,distance\n")
    for pair in range(10_000):
        random = Random(pair)
        n, m = 1 + random.below(300), 1 + random.below(300)
        if pair % 3 == 0:
            m = n
        window = random.below(max(n, m) + 1)
        a, b = walk(random, n), walk(random, m)
        distance = dtw.distance_fast(a, b, window=window or None, use_pruning=False)
        out.write(f"{n},{m},{window},{distance!r}\n" if isinstance(distance, float) else f"{n},{m},{window},{float(distance)!r}\n")
