"""What runs in Larq's own environment: a network in Larq Compute Engine, on one thread.

The parent (larq_peer.py) sends on stdin a pickled network and the input's shape, then one byte for
each thing to do; every answer starts with READY. The parent imports this too, but none of what is
only in Larq's environment.
"""

import os
import pickle
import sys
from typing import Any, BinaryIO

import numpy as np

from benchmarks.peer_weights import Floats

READY, INPUT, INFER, OUTPUT = b".", b"x", b"i", b"y"


def main() -> None:
    from benchmarks.larq_model import keras_model

    # TensorFlow and the converter print: they get stderr, the parent what was stdout.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    net, shape = pickle.load(sys.stdin.buffer)
    _serve(_interpreter(keras_model(net, shape), sys.argv[1] == "indirect"), answers)


def _serve(interpreter: Any, answers: BinaryIO) -> None:
    from benchmarks.larq_model import mirror

    x: Floats = np.zeros(interpreter.input_shapes[0], np.float32)
    y = x
    commands = sys.stdin.buffer
    answers.write(READY)
    answers.flush()
    while command := commands.read(1):
        if command == INPUT:
            image = mirror(pickle.load(commands)).transpose(0, 2, 3, 1)
            # The interpreter refuses an array that was unpickled: its dtype is another object.
            x = image.astype(np.float32, order="C")
        elif command == INFER:
            y = interpreter.predict(x)
        answers.write(READY)
        if command == OUTPUT:
            pickle.dump(y, answers)
        answers.flush()


def _interpreter(model: Any, indirect: bool) -> Any:
    import larq_compute_engine
    from larq_compute_engine.tflite.python.interpreter import Interpreter

    flatbuffer = larq_compute_engine.convert_keras_model(model)
    return Interpreter(flatbuffer, num_threads=1, use_indirect_bgemm=indirect, use_xnnpack=True)


if __name__ == "__main__":
    main()
