"""Messages of protocol buffers by hand, and models of ONNX made of them."""


def varint(value):
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def field(number, value):
    """A field of a message: an integer, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor_bytes(name, dims, dtype, *fields):
    return b"".join([*(field(1, side) for side in dims), field(2, dtype), field(8, name), *fields])


def external(name, dims, **entries):
    pairs = [field(13, field(1, key) + field(2, str(value))) for key, value in entries.items()]
    return tensor_bytes(name, dims, 1, field(14, 1), *pairs)


def model(*fields):
    return field(1, 10) + field(7, b"".join(fields)) + field(8, field(2, 21))


def initializer(*fields):
    return field(5, tensor_bytes(*fields))
