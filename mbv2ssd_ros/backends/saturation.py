"""
Detect whether ONNX Runtime's integer kernels saturate on this processor.

x86-64 without VNNI multiplies uint8 by int8 with vpmaddubsw, which adds two products in 16 bits:
255 * (|w1| + |w2|) above 32767 is cut silently. Tested by a product, since processor flags do not
show which kernels a build of ONNX Runtime uses.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime

# The product of a, uint8 (4, 8), and a constant int8 (8, 16) of 127 everywhere: MatMulInteger of
# opset 13, the kernel of quantised convolutions, too.
PROBE_MODEL = (
    b'\x08\x07:\xda\x01\n\x18\n\x01a\n\x01b\x12\x01y"\rMatMulInteger\x12\x05probe*\x8c\x01'
    b'\x08\x08\x08\x10\x10\x03B\x01bJ\x80\x01' + b'\x7f' * 128 +
    b'Z\x13\n\x01a\x12\x0e\n\x0c\x08\x02\x12\x08\n\x02\x08\x04\n\x02\x08\x08b\x13\n\x01y\x12'
    b'\x0e\n\x0c\x08\x06\x12\x08\n\x02\x08\x04\n\x02\x08\x10B\x04\n\x00\x10\r')
EXACT = 8 * 255 * 127  # each element of the product where nothing saturates


@cache
def kernels_saturate() -> bool:
    """Multiply integers whose sums exceed 16 bits; True where the product is too small."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        PROBE_MODEL, settings, providers=['CPUExecutionProvider'])
    product, = session.run(['y'], {'a': np.full((4, 8), 255, np.uint8)})
    return bool((product != EXACT).any())
