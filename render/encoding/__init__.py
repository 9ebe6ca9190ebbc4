"""From a Frame to bytes: pictures, and values without loss.

Each encoding is written as ``proto/render/v1/frame.proto`` says. Everything here is stateless, may be called from
any thread, and spends its time in code that releases the GIL.
"""

from render.encoding.base import EncodedFrame, Encoding, encode
from render.encoding.pictures import decode_rgba
from render.encoding.values import decode_values

__all__ = ["EncodedFrame", "Encoding", "decode_rgba", "decode_values", "encode"]
