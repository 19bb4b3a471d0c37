# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# A Match without its constructor, which takes two microseconds for twenty-one frozen fields.
#
# A dataclass with slots keeps each field at an offset that its member descriptor knows. The offsets are read when the
# module is loaded; were Match ever built in another way, its constructor is called.

cdef enum:
    MAX_FIELDS = 32

cdef Py_ssize_t FIELD_AT[MAX_FIELDS]
cdef Py_ssize_t N_FIELDS = 0


def _load_fields():
    global N_FIELDS
    names = [field.name for field in dataclasses.fields(Match)]
    described = [vars(Match).get(name) for name in names]
    if len(names) > MAX_FIELDS or Match.__init__ is object.__init__ or hasattr(Match, "__post_init__"):
        return
    if not all(isinstance(one, types.MemberDescriptorType) for one in described):
        return
    for i, one in enumerate(described):
        FIELD_AT[i] = (<PyMemberDescrObject *><PyObject *>one).d_member.offset
    N_FIELDS = len(names)


cdef object made_match(tuple values):
    """The Match with these values in the order of its fields."""
    cdef Py_ssize_t i
    cdef PyObject **place
    if N_FIELDS != len(values):
        return Match(*values)
    match = Match.__new__(Match)
    for i in range(N_FIELDS):
        place = <PyObject **>(<char *><PyObject *>match + FIELD_AT[i])
        value = values[i]
        Py_INCREF(value)
        Py_XDECREF(place[0])
        place[0] = <PyObject *>value
    return match
