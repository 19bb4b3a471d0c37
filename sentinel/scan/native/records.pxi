# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Which flow records are known, and whether a body is cut inside a field: the twin of sflow/records.py without values.
#
# Each layout of sflow/flow_records.py becomes a row of operations when the module is loaded. A layout with types that
# have none here (arrays of structs, records in records) is left to the plain twin, body by body.

cdef enum:
    OP_SKIP = 1
    OP_OPAQUE = 2
    OP_PADDED = 3
    OP_ADDRESS = 4
    OP_ARRAY = 5
    OP_ASK = 9
    MAX_OPS = 32
    MAX_LAYOUTS = 256
    # Formats below this of enterprise 0 are found by number.
    DIRECT = 4096

cdef struct LayoutOps:
    uint32_t tag
    int n
    # Octets when every field is a number; 0 otherwise.
    int64_t plain_size
    uint8_t code[MAX_OPS]
    uint8_t size[MAX_OPS]

cdef LayoutOps LAYOUTS[MAX_LAYOUTS]
cdef int N_LAYOUTS = 0
cdef int16_t BY_NUMBER[DIRECT]

_SIZES = {"unsigned int": 4, "int": 4, "float": 4, "unsigned hyper": 8, "uuid": 16, "ip_v4": 4, "ip_v6": 16}
_CODES = {"string<>": OP_OPAQUE, "opaque<>": OP_OPAQUE, "address": OP_ADDRESS, "unsigned int<>": OP_ARRAY}


def _operation(name):
    if name in _SIZES:
        return OP_SKIP, _SIZES[name]
    if name in _CODES:
        return _CODES[name], 0
    if name == "mac":
        return OP_PADDED, 6
    if name.startswith("opaque["):
        return OP_PADDED, int(name[7 : len(name) - 1])
    return OP_ASK, 0


def _load_layouts():
    global N_LAYOUTS
    cdef LayoutOps *ops
    memset(BY_NUMBER, 0xFF, sizeof(BY_NUMBER))
    for layout in layouts(flow=True):
        if N_LAYOUTS >= MAX_LAYOUTS:
            raise ImportError("more layouts of flow records than the compiled scan has room for")
        ops = &LAYOUTS[N_LAYOUTS]
        ops.tag = tag_number(layout.text)
        operations = [_operation(kind.name) for _, kind in layout.fields]
        if len(operations) > MAX_OPS:
            operations = [(OP_ASK, 0)]
        ops.n = len(operations)
        for i, (code, size) in enumerate(operations):
            ops.code[i] = code
            ops.size[i] = size
        numbers = all(code == OP_SKIP for code, _ in operations)
        ops.plain_size = sum(size for _, size in operations) if numbers else 0
        if ops.tag < DIRECT:
            BY_NUMBER[ops.tag] = N_LAYOUTS
        N_LAYOUTS += 1


cdef inline int layout_of(uint32_t tag) noexcept nogil:
    """The number of the layout, or -1 where the tag is unknown."""
    cdef int i
    if tag < DIRECT:
        return BY_NUMBER[tag]
    for i in range(N_LAYOUTS):
        if LAYOUTS[i].tag == tag:
            return i
    return -1


cdef int body_error(int layout, const uint8_t *data, int64_t at, int64_t end) noexcept nogil:
    """1 where the body ends or lies inside a field, 0 where it doesn't, 2 where only the plain twin can tell."""
    cdef const LayoutOps *ops = &LAYOUTS[layout]
    cdef int i, code
    cdef int64_t size
    if ops.tag == 1 and end - at >= 16:
        # The sampled header, which nearly every sample has.
        return <int64_t>be32(data + at + 12) > end - at - 16
    if ops.plain_size and end - at >= ops.plain_size:
        return 0
    for i in range(ops.n):
        if at >= end:
            return 0
        code = ops.code[i]
        size = ops.size[i]
        if code == OP_SKIP:
            if end - at < size:
                return 1
            at += size
        elif code == OP_PADDED:
            if end - at < size:
                return 1
            at = min(at + ((size + 3) & ~(<int64_t>3)), end)
        elif code == OP_OPAQUE:
            if end - at < 4:
                return 1
            size = be32(data + at)
            at += 4
            if size > end - at:
                return 1
            at = min(at + ((size + 3) & ~(<int64_t>3)), end)
        elif code == OP_ARRAY:
            if end - at < 4:
                return 1
            size = be32(data + at)
            at += 4
            if size * 4 > end - at:
                return 1
            at += size * 4
        elif code == OP_ADDRESS:
            if end - at < 4:
                return 1
            size = be32(data + at)
            at += 4
            if size > 2 or (size == 1 and end - at < 4) or (size == 2 and end - at < 16):
                return 1
            at += 16 if size == 2 else size * 4
        else:
            return 2
    return 0
