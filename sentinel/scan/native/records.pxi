# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Where samples and records end, and whether a body is cut inside a field: the twin of sflow/records.py without values.
#
# When the module is loaded each layout of flow_records.py and counter_records.py becomes a row of types, and each type
# of sflow/xdr.py a row that says where its value ends.

cdef enum:
    # Octets that are there, without and with padding behind them; a length and octets; union address.
    T_OCTETS = 1
    T_PADDED = 2
    T_OPAQUE = 3
    T_ADDRESS = 4
    # A count and that many of one type; types one behind the other; a tag, a length and a body nobody looks into.
    T_ARRAY = 5
    T_STRUCT = 6
    T_RECORD = 7
    MAX_TYPES = 64
    MAX_PARTS = 128
    MAX_LAYOUT_FIELDS = 96
    MAX_LAYOUTS = 256
    # Formats below this of enterprise 0 are found by number.
    DIRECT = 4096

cdef struct Type:
    int code
    # Octets of the value; of an array's element the least.
    int size
    # The types of a struct, or of an array's element, in PARTS.
    int first
    int n

cdef struct LayoutTypes:
    int n
    # Octets when every field is a number; 0 otherwise.
    int64_t plain_size
    int fields[MAX_LAYOUT_FIELDS]

# The records that one kind of sample may carry: the number of the layout by tag.
cdef struct Known:
    int16_t by_number[DIRECT]
    int n_far
    uint32_t far_tags[MAX_LAYOUTS]
    int far_layouts[MAX_LAYOUTS]

cdef struct SampleRecord:
    uint32_t tag
    int layout
    const uint8_t *body
    int64_t size

cdef Type TYPES[MAX_TYPES]
cdef int PARTS[MAX_PARTS]
cdef LayoutTypes LAYOUTS[MAX_LAYOUTS]
cdef int N_TYPES = 0, N_PARTS = 0, N_LAYOUTS = 0
cdef Known FLOW_RECORDS, COUNTER_RECORDS

_SIZES = {"unsigned int": 4, "int": 4, "float": 4, "unsigned hyper": 8, "uuid": 16, "ip_v4": 4, "ip_v6": 16}
_CODES = {"string<>": T_OPAQUE, "opaque<>": T_OPAQUE, "address": T_ADDRESS, "flow_record": T_RECORD}


def _type_of(kind, rows):
    """The number of the row of a type; a new one where ``rows`` has none like it."""
    global N_TYPES, N_PARTS
    cdef Type row
    parts = [kind.element] if kind.element is not None else [part for _, part in kind.fields]
    numbers = tuple([_type_of(part, rows) for part in parts])
    key = kind.name, kind.least, numbers
    if key in rows:
        return rows[key]
    memset(&row, 0, sizeof(Type))
    if numbers:
        row.code = T_STRUCT if kind.element is None else T_ARRAY
        row.size = 0 if kind.element is None else kind.element.least
        row.first = N_PARTS
        row.n = len(numbers)
    elif kind.name in _SIZES:
        row.code, row.size = T_OCTETS, _SIZES[kind.name]
    elif kind.name in _CODES:
        row.code = _CODES[kind.name]
    elif kind.name == "mac" or kind.name.startswith("opaque["):
        row.code, row.size = T_PADDED, kind.least
    else:
        raise ImportError(f"the compiled scan does not know the type {kind.name}")
    if N_TYPES >= MAX_TYPES or N_PARTS + len(numbers) > MAX_PARTS:
        raise ImportError("more types of records than the compiled scan has room for")
    for number in numbers:
        PARTS[N_PARTS] = number
        N_PARTS += 1
    TYPES[N_TYPES] = row
    rows[key] = N_TYPES
    N_TYPES += 1
    return rows[key]


def _load_layouts():
    rows = {}
    _load_known(rows, True)
    _load_known(rows, False)


def _load_known(rows, bint flow):
    global N_LAYOUTS
    cdef Known *known = &FLOW_RECORDS if flow else &COUNTER_RECORDS
    cdef LayoutTypes *types
    cdef uint32_t tag
    memset(known, 0, sizeof(Known))
    memset(known.by_number, 0xFF, sizeof(known.by_number))
    for layout in layouts(flow=flow):
        if N_LAYOUTS >= MAX_LAYOUTS or len(layout.fields) > MAX_LAYOUT_FIELDS:
            raise ImportError("more layouts of records than the compiled scan has room for")
        tag = tag_number(layout.text)
        types = &LAYOUTS[N_LAYOUTS]
        types.n = len(layout.fields)
        types.plain_size = 0
        for i, (_, kind) in enumerate(layout.fields):
            types.fields[i] = _type_of(kind, rows)
        if all(kind.name in _SIZES for _, kind in layout.fields):
            types.plain_size = sum(_SIZES[kind.name] for _, kind in layout.fields)
        if tag < DIRECT:
            known.by_number[tag] = N_LAYOUTS
        else:
            known.far_tags[known.n_far] = tag
            known.far_layouts[known.n_far] = N_LAYOUTS
            known.n_far += 1
        N_LAYOUTS += 1


cdef inline int layout_of(const Known *known, uint32_t tag) noexcept nogil:
    """The number of the layout, or -1 where the tag is unknown."""
    cdef int i
    if tag < DIRECT:
        return known.by_number[tag]
    for i in range(known.n_far):
        if known.far_tags[i] == tag:
            return known.far_layouts[i]
    return -1


# --- where the next one begins -------------------------------------------------------------------

cdef inline bint begins(const Known *known, const uint8_t *data, int64_t at, int64_t end) noexcept nogil:
    """Whether a known record, or where ``known`` is NULL a known sample, begins here and fits."""
    cdef uint32_t tag
    if end - at < 8:
        return False
    tag = be32(data + at)
    if not (1 <= tag <= 5 if known == NULL else layout_of(known, tag) >= 0):
        return False
    return <int64_t>be32(data + at + 4) <= end - at - 8


cdef inline int64_t behind(
    const Known *known, const uint8_t *data, int64_t begin, int64_t plain, int64_t end
) noexcept nogil:
    """Where the next sample (``known`` NULL) or record begins: as ``datagram._behind``."""
    cdef int64_t padded
    if (begin - plain) & 3 == 0:
        return plain
    padded = min(plain + ((begin - plain) & 3), end)
    if padded == end or begins(known, data, padded, end):
        return padded
    return plain if begins(known, data, plain, end) else padded


cdef inline int records_in(
    const Known *known, const uint8_t *data, int64_t at, int64_t end, uint32_t announced, SampleRecord *records
) noexcept nogil:
    """Fill ``records`` (of MAX_RECORDS) and return how many there are, -1 where they don't fit into the sample."""
    cdef SampleRecord *record
    cdef int64_t size
    cdef int n = 0
    while <uint32_t>n < announced:
        if end - at < 8 or n == MAX_RECORDS:
            return -1
        size = be32(data + at + 4)
        if size > end - at - 8:
            return -1
        record = &records[n]
        record.tag = be32(data + at)
        record.layout = layout_of(known, record.tag)
        record.body = data + at + 8
        record.size = size
        at = behind(known, data, at + 8, at + 8 + size, end)
        n += 1
    return n


cdef inline void records_apart(SampleRecord *records, int n) noexcept nogil:
    cdef int i
    if EXACT_COPIES:
        for i in range(n):
            records[i].body = apart(records[i].body, records[i].size)


cdef inline void records_let_go(const SampleRecord *records, int n) noexcept nogil:
    cdef int i
    if EXACT_COPIES:
        for i in range(n):
            let_go(records[i].body)


# --- bodies --------------------------------------------------------------------------------------

cdef inline int64_t skipped(int64_t at, int64_t size, int64_t end) noexcept nogil:
    """Behind octets that are there, and behind their padding as far as that is there."""
    return min(at + ((size + 3) & ~(<int64_t>3)), end)


cdef int64_t behind_value(const Type *type, const uint8_t *data, int64_t at, int64_t end) noexcept nogil:
    """Where what follows the value begins, -1 where the body ends or lies inside it. The depth is that of the types."""
    cdef int64_t count, i
    if type.code == T_OCTETS:
        return at + type.size if end - at >= type.size else -1
    if type.code == T_PADDED:
        return skipped(at, type.size, end) if end - at >= type.size else -1
    if type.code == T_STRUCT:
        for i in range(type.n):
            at = behind_value(&TYPES[PARTS[type.first + i]], data, at, end)
            if at < 0:
                return -1
        return at
    if type.code == T_RECORD:
        if end - at < 8:
            return -1
        at += 4
    elif end - at < 4:
        return -1
    count = be32(data + at)
    at += 4
    if type.code == T_ADDRESS:
        if count > 2 or end - at < (16 if count == 2 else count * 4):
            return -1
        return at + (16 if count == 2 else count * 4)
    if type.code != T_ARRAY:
        return skipped(at, count, end) if end - at >= count else -1
    # An element takes octets: what is announced is bounded by what is there.
    if count * type.size > end - at:
        return -1
    for i in range(count):
        at = behind_value(&TYPES[PARTS[type.first]], data, at, end)
        if at < 0:
            return -1
    return at


cdef int is_cut(const SampleRecord *record) noexcept nogil:
    """1 where the body of a known record ends or lies inside a field, else 0; behind any whole field it may end."""
    cdef const LayoutTypes *types = &LAYOUTS[record.layout]
    cdef int64_t at = 0
    cdef int i
    if types.plain_size and record.size >= types.plain_size:
        return 0
    for i in range(types.n):
        if at >= record.size:
            return 0
        at = behind_value(&TYPES[types.fields[i]], record.body, at, record.size)
        if at < 0:
            return 1
    return 0
