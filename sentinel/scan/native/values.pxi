# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
# Frozen values made without their constructor, which takes a tenth of a microsecond for each field.

cdef enum:
    MAX_FIELDS = 32


@cython.final
cdef class Maker:
    """Of one dataclass.

    With slots it keeps each field at an offset that the field's member descriptor knows. Were it ever built in another
    way, its constructor is called.
    """

    cdef object _kind
    cdef Py_ssize_t _offsets[MAX_FIELDS]
    cdef Py_ssize_t _n_fields

    def __cinit__(self, kind):
        self._kind = kind
        names = [field.name for field in dataclasses.fields(kind)]
        described = [vars(kind).get(name) for name in names]
        if len(names) > MAX_FIELDS or kind.__init__ is object.__init__ or hasattr(kind, "__post_init__"):
            return
        if not all(isinstance(one, types.MemberDescriptorType) for one in described):
            return
        for i, one in enumerate(described):
            self._offsets[i] = (<PyMemberDescrObject *><PyObject *>one).d_member.offset
        self._n_fields = len(names)

    cdef object made(self, tuple values):
        """The value with these in the order of its fields."""
        cdef Py_ssize_t i
        cdef PyObject **place
        if self._n_fields != len(values):
            return self._kind(*values)
        one = self._kind.__new__(self._kind)
        for i in range(self._n_fields):
            place = <PyObject **>(<char *><PyObject *>one + self._offsets[i])
            value = values[i]
            Py_INCREF(value)
            Py_XDECREF(place[0])
            place[0] = <PyObject *>value
        return one


cdef Maker MATCHES = Maker(Match)
