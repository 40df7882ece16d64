"""Arrays as messages: what is sent as it is, what is converted, what is refused, and what is not copied."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from messages import grows, message, there_and_back

from samemap import dtypes
from samemap.codecs import NumpyCodec

RECORD = np.dtype([("id", "u4"), ("position", "f8", (3,)), ("inner", [("flag", "?"), ("time", "M8[us]")])])


class TestArrays:
    @given(st.data())
    @settings(deadline=None)
    def test_every_dtype_and_shape_comes_back_as_it_was(self, data: st.DataObject) -> None:
        kinds = arrays.scalar_dtypes() | arrays.array_dtypes(allow_subarrays=True)
        dtype = data.draw(kinds.filter(lambda dtype: dtype.itemsize))
        array = data.draw(arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, max_side=3)))
        # The strategies have dtypes that are arrays themselves, whose axes the array has already.
        codec = NumpyCodec(array.shape, array.dtype)
        wire = message(codec, array)
        assert len(wire) == codec.size == array.nbytes
        back = codec.array(wire)
        # Titles do not travel, and have no part in the bytes.
        assert (back.dtype, back.shape) == (dtypes.rebuild(dtypes.describe(array.dtype)), array.shape)
        assert back.tobytes() == array.tobytes()
        many, count = codec.encode_many(np.stack([array, array, array]))
        assert (memoryview(many).nbytes, count) == (3 * codec.size, 3)

    def test_the_very_array_is_what_is_sent(self) -> None:
        codec = NumpyCodec((4, 5), "f4")
        array = np.zeros((4, 5), "f4")
        assert codec.encode(array) is array
        assert codec.encode_many(np.stack([array] * 3))[1] == 3
        big = np.zeros((3, 4, 5), "f4")
        assert codec.encode_many(big)[0] is big

    def test_dates_are_not_copied_either(self) -> None:
        codec = NumpyCodec(3, "M8[us]")
        array = np.array(["2024-01-01", "2024-01-02", "NaT"], "M8[us]")
        encoded = codec.encode(array)
        assert np.shares_memory(encoded, array)
        assert memoryview(encoded).nbytes == 24
        np.testing.assert_array_equal(there_and_back(codec, array), array)

    @pytest.mark.parametrize(
        "view",
        [
            lambda array: array[::2, ::-1],
            lambda array: np.asfortranarray(array[::2]),
            lambda array: array[::2].astype(">i4"),
            lambda array: np.ma.masked_array(array[::2]),
            lambda array: array[::2].astype("i2"),
        ],
    )
    def test_what_is_arranged_otherwise_is_put_right(self, view: Any) -> None:
        array = view(np.arange(24, dtype="i4").reshape(4, 6))
        codec = NumpyCodec(array.shape, "i4")
        encoded = codec.encode(array)
        assert encoded.flags.c_contiguous
        assert type(encoded) is np.ndarray
        np.testing.assert_array_equal(there_and_back(codec, array), array)

    @pytest.mark.parametrize(
        ("value", "shape", "dtype", "result"),
        [
            (3, (), "u1", 3),
            (3, (), "f4", 3.0),
            (True, (), "?", True),
            (True, (), "i4", 1),
            (0.1, (), "f4", np.float32(0.1)),
            (1 + 2j, (), "c8", 1 + 2j),
            ([1, 2, 3], (3,), "i2", [1, 2, 3]),
            ([[1, 2], [3.5, 4]], (2, 2), "f4", [[1, 2], [3.5, 4]]),
            (range(3), (3,), "i8", [0, 1, 2]),
            (b"abc", (3,), "u1", [97, 98, 99]),
            (bytearray(b"abc"), (3,), "u1", [97, 98, 99]),
            (b"abc", (), "S5", b"abc"),
            ("abc", (), "U5", "abc"),
            (["ab", "c"], (2,), "U2", ["ab", "c"]),
            (np.float32(2), (), "f8", 2.0),
            (np.uint8(2), (), "i2", 2),
            (2**63, (), "u8", 2**63),
            ("2024-01-01", (), "M8[s]", np.datetime64("2024-01-01")),
            (datetime.datetime(2024, 1, 1), (), "M8[us]", np.datetime64("2024-01-01")),
            (datetime.date(2024, 1, 1), (), "M8[us]", np.datetime64("2024-01-01")),
            (datetime.timedelta(seconds=2), (), "m8[ms]", np.timedelta64(2000, "ms")),
            (5, (), "m8[ms]", np.timedelta64(5, "ms")),
            (datetime.datetime(2024, 1, 1), (), "M8[D]", np.datetime64("2024-01-01")),
            ([datetime.date(2024, 1, 1), datetime.date(2024, 1, 2)], (2,), "M8[D]", ["2024-01-01", "2024-01-02"]),
        ],
    )
    def test_what_loses_nothing_is_converted(
        self, value: object, shape: tuple[int], dtype: str, result: object
    ) -> None:
        back = there_and_back(NumpyCodec(shape, dtype), value)
        np.testing.assert_array_equal(back, np.array(result, dtype))

    @pytest.mark.parametrize(
        ("value", "shape", "dtype", "names"),
        [
            (np.zeros(3), (3,), "f4", ["float64", "float32", "(3,)", "astype"]),
            (np.zeros(3, "i8"), (3,), "i4", ["int64", "int32"]),
            (np.zeros(3, "i4"), (3,), "u4", ["int32", "uint32"]),
            (1.5, (), "i4", ["float64", "int32"]),
            (1.0, (), "i4", ["float64", "int32"]),
            (1j, (), "f4", ["complex128", "float32"]),
            (1, (), "?", ["int64", "bool"]),
            ("abc", (), "f4", ["<U3", "float32"]),
            ("abcdef", (), "U5", ["<U6", "<U5"]),
            (None, (), "f4", ["None", "float32"]),
            ({"a": 1}, (), "f4", ["{'a': 1}", "float32"]),
            (2**70, (), "u8", [str(2**70), "uint64"]),
            (datetime.datetime(2024, 1, 1, 5), (), "M8[D]", ["[us]", "[D]"]),
            (5, (), "M8[us]", ["int64", "datetime64[us]"]),
            (np.zeros(2, [("x", "f4")]), (2,), "f4", ["'x'", "float32"]),
            (np.zeros((), [("y", "f4")]), (), [("x", "f4")], ["'y'", "'x'"]),
        ],
    )
    def test_what_would_lose_something_is_refused_with_both_dtypes(
        self, value: object, shape: tuple[int], dtype: Any, names: Sequence[str]
    ) -> None:
        with pytest.raises(TypeError) as caught:
            NumpyCodec(shape, dtype).encode(value)
        assert all(name in str(caught.value) for name in names), caught.value

    @pytest.mark.parametrize(
        ("value", "dtype", "names"),
        [
            (256, "u1", ["uint8", "255", "256"]),
            (np.float64(1e39), "f4", ["float32", "1e+39"]),
            (-1, "u4", ["uint32", "from 0", "-1"]),
            (1e39, "f4", ["float32", "1e+39"]),
            (70_000, "f2", ["float16", "70000"]),
        ],
    )
    def test_numbers_out_of_range_are_refused(self, value: object, dtype: str, names: Sequence[str]) -> None:
        for codec, given_ in ((NumpyCodec((), dtype), value), (NumpyCodec(2, dtype), [0, value])):
            with pytest.raises(ValueError, match=r".") as caught:
                codec.encode(given_)
            assert all(name in str(caught.value) for name in names), caught.value

    @pytest.mark.parametrize(
        "value", [np.zeros((3, 2), "f4"), np.zeros(6, "f4"), np.zeros((1, 2, 3), "f4"), [[1, 2, 3]], 5.0]
    )
    def test_another_shape_is_refused_with_both_and_nothing_is_broadcast(self, value: object) -> None:
        with pytest.raises(ValueError, match=r"\(2, 3\) and dtype float32, and this has shape") as caught:
            NumpyCodec((2, 3), "f4").encode(value)
        assert str(np.shape(value)) in str(caught.value)

    def test_infinite_numbers_are_no_error(self) -> None:
        assert there_and_back(NumpyCodec((), "f4"), float("inf")) == float("inf")
        assert np.isnan(there_and_back(NumpyCodec(2, "f4"), [float("nan"), 1])[0])

    def test_a_record_is_a_tuple_and_its_fields_lose_nothing(self) -> None:
        codec = NumpyCodec((), RECORD)
        moment = datetime.datetime(2024, 1, 1)
        value = there_and_back(codec, (7, [1, 2, 3], (True, moment)))
        assert type(value) is np.void
        assert value["id"] == 7
        assert value["position"].tolist() == [1, 2, 3]
        assert value["inner"]["time"] == np.datetime64(moment)
        with pytest.raises(ValueError, match=r"field 'id'.*uint32"):
            codec.encode((-1, [1, 2, 3], (True, moment)))
        with pytest.raises(TypeError, match=r"field 'inner': field 'flag'.*bool"):
            codec.encode((7, [1, 2, 3], (1.5, moment)))
        with pytest.raises(TypeError, match="tuple of id, position, inner"):
            codec.encode((7, [1, 2, 3]))
        with pytest.raises(ValueError, match=r"field 'position'.*\(3,\).*\(2,\)"):
            codec.encode((7, [1, 2], (True, moment)))

    def test_several_records_are_a_list_of_tuples(self) -> None:
        codec = NumpyCodec(2, [("x", "f4"), ("y", "f4")])
        assert there_and_back(codec, [(1, 2), (3, 4)])["y"].tolist() == [2, 4]
        with pytest.raises(ValueError, match="3 of what there must be 2"):
            codec.encode([(1, 2)] * 3)
        many, count = codec.encode_many([[(1, 2), (3, 4)]] * 5)
        assert (many.shape, count) == ((5, 2), 5)

    def test_what_lies_between_fields_is_not_leaked(self) -> None:
        codec = NumpyCodec((), {"names": ["a", "b"], "formats": ["u1", "u8"], "offsets": [3, 16], "itemsize": 32})
        assert message(codec, (255, 0)) == b"\0\0\0\xff" + bytes(28)

    @pytest.mark.parametrize("shape", [(), (2, 3)])
    def test_messages_are_read_only_views(self, shape: tuple[int, ...]) -> None:
        codec = NumpyCodec(shape, RECORD)
        memory = bytearray(codec.size)
        array = codec.array(memory)
        value = codec.decode(memory)
        assert np.shares_memory(array, np.frombuffer(memory, "u1"))
        memory[0] = 9
        assert array.flat[0]["id"] == np.asarray(value).flat[0]["id"] == 9
        for thing in (array, array["position"], value["position"]):
            assert not thing.flags.writeable
            with pytest.raises(ValueError, match="WRITEABLE"):
                thing.flags.writeable = True
        part = value["position"]
        del array, value, thing
        assert not grows(memory)
        del part
        assert grows(memory)

    def test_a_single_number_is_a_number(self) -> None:
        codec = NumpyCodec((), "f8")
        memory = bytearray(8)
        assert isinstance(codec.decode(memory), np.float64)
        assert codec.array(memory).shape == ()
        assert grows(memory)

    @pytest.mark.parametrize("kind", [bytes, bytearray])
    @pytest.mark.parametrize("length", [0, 23, 25, 48])
    def test_messages_of_another_length_are_refused(self, length: int, kind: type[bytes] | type[bytearray]) -> None:
        with pytest.raises(ValueError, match=rf"\(2, 3\).*float32.*24 bytes, not {length}"):
            NumpyCodec((2, 3), "f4").decode(kind(length))

    def test_a_frame_is_written_in_place_and_sealed(self) -> None:
        codec = NumpyCodec((2, 3), "f4")
        memory = bytearray(codec.size)
        frame = codec.frame(memory)
        frame[:] = 1.5
        codec.seal(frame)
        assert codec.decode(memory).tolist() == [[1.5] * 3] * 2
        with pytest.raises(ValueError, match="read-only"):
            frame[:] = 2
        del frame
        assert grows(memory)
        with pytest.raises(ValueError, match="smaller"):
            codec.frame(bytearray(codec.size - 1))

    def test_many_are_filled_in_through_the_buffer_protocol(self) -> None:
        codec = NumpyCodec((2, 3), "f4")
        source = np.arange(30, dtype="f4").reshape(5, 2, 3)
        rows, count = codec.encode_many(source)
        found = codec.empty(count)
        memoryview(found).cast("B")[:] = memoryview(rows).cast("B")
        np.testing.assert_array_equal(found, source)
        assert found.flags.writeable

    @pytest.mark.parametrize("values", [[], (), np.zeros((0, 2, 3), "f4")])
    def test_many_may_be_none(self, values: Any) -> None:
        rows, count = NumpyCodec((2, 3), "f4").encode_many(values)
        assert (rows.nbytes, count) == (0, 0)

    @pytest.mark.parametrize(
        ("values", "error", "told"),
        [
            (np.zeros((2, 3), "f4"), ValueError, r"\(2, 2, 3\).*\(2, 3\)"),
            (np.zeros((5, 3, 2), "f4"), ValueError, r"\(5, 2, 3\).*\(5, 3, 2\)"),
            (np.zeros((5, 2, 3)), TypeError, "float32.*float64"),
            (7, TypeError, r"\(n, 2, 3\).*float32.*int"),
            ((each for each in [1]), TypeError, r"\(n, 2, 3\).*generator"),
            ([np.zeros((2, 3), "f4"), np.zeros((3, 2), "f4")], ValueError, "."),
        ],
    )
    def test_many_of_another_kind_are_refused(self, values: Any, error: type[Exception], told: str) -> None:
        with pytest.raises(error, match=told):
            NumpyCodec((2, 3), "f4").encode_many(values)

    @pytest.mark.parametrize(
        ("shape", "dtype", "told"),
        [
            ((), object, "Python objects.*pickle"),
            ((), [("a", "i4"), ("b", [("c", "O")])], "Python objects.*pickle"),
            ((), "S", "no size"),
            ((), [], "no size"),
            ((0, 3), "f4", r"\(0, 3\).*no elements"),
            (-1, "f4", r"\(-1,\).*no elements"),
            ((1,) * 70, "f4", "dimension"),
            ((2**40, 2**40), "f4", "big|large"),
        ],
    )
    def test_what_cannot_be_shared_is_refused(self, shape: Any, dtype: Any, told: str) -> None:
        with pytest.raises(ValueError, match=told):
            NumpyCodec(shape, dtype)

    @pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy has no strings of any length before 2.0")
    def test_strings_of_any_length_are_refused(self) -> None:
        with pytest.raises(ValueError, match="Python objects"):
            NumpyCodec((), np.dtypes.StringDType())

    @pytest.mark.parametrize("shape", ["3", 2.5, (2, None), True])
    def test_what_is_no_shape_is_refused(self, shape: Any) -> None:
        with pytest.raises(TypeError, match="shape is an integer or a tuple of integers"):
            NumpyCodec(shape, "f4")

    def test_a_dtype_that_is_an_array_adds_axes(self) -> None:
        codec = NumpyCodec(5, ("f4", (2, 3)))
        assert (codec.shape, codec.dtype, codec.size) == ((5, 2, 3), np.float32, 120)
