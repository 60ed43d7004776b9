"""The functions of shim_mps.h, called as the operator library calls them, over tensors made up by fake_torch.cpp."""

import ctypes

import pytest
from metal_harness import floats, zeros

MPS, CPU = 13, 0
CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)


class FakeTensor(ctypes.Structure):
    _fields_ = [
        ("device_type", ctypes.c_int32),
        ("element_size", ctypes.c_int32),
        ("storage_offset", ctypes.c_int64),
        ("storage_bytes", ctypes.c_int64),
        ("storage", ctypes.c_void_p),
    ]


def tensor(array, offset: int = 0, device: int = MPS) -> FakeTensor:
    made = FakeTensor(device, ctypes.sizeof(array._type_), offset, ctypes.sizeof(array), ctypes.addressof(array))
    made.keeps = array
    return made


TWO = tensor(floats([2.0]))


class ShimError(Exception):
    pass


class Shim:
    """aoti_torch_mps_* without the prefix; a failure raises the emulator's last error."""

    def __init__(self, library: ctypes.CDLL):
        self.library = library
        library.metalsvd_emulator_last_error.restype = ctypes.c_char_p

    def __getattr__(self, name: str):
        def call(*arguments):
            if getattr(self.library, f"aoti_torch_mps_{name}")(*arguments) != 0:
                raise ShimError(self.library.metalsvd_emulator_last_error().decode())

        return call

    def make(self, name: str, *arguments) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        getattr(self, name)(*arguments, ctypes.byref(handle))
        return handle

    def in_block(self, function, encode) -> None:
        """Run encode in a command block; what it raises is raised here."""
        raised = []

        def callback(handle, _):
            try:
                assert handle == function.value
                encode()
            except Exception as error:
                raised.append(error)

        try:
            self.run_command_block(function, CALLBACK(callback), None)
        finally:
            if raised:
                raise raised[0]


@pytest.fixture
def shim(emulator):
    return Shim(emulator.library)


@pytest.fixture
def constants(emulator, shim):
    """Kernel 'constants': output, offset (an integer) and scale."""
    library = shim.make("create_shader_library", emulator.sources["correct"].encode())
    yield shim.make("get_kernel_function", library, b"constants")
    shim.delete_shader_library(library)


def set_arguments(shim, function, output, offset=3, scale=TWO):
    shim.start_encoding(function)
    shim.set_arg_tensor(function, 0, ctypes.byref(output))
    shim.set_arg_int(function, 1, ctypes.c_int64(offset))
    shim.set_arg_tensor(function, 2, ctypes.byref(scale))


DISPATCHES = {
    "dispatch_single": lambda: (ctypes.c_uint64(64),),
    "dispatch_single_with_group_size": lambda: (ctypes.c_uint64(64), ctypes.c_uint64(32)),
    "dispatch_array": lambda: ((ctypes.c_uint64 * 2)(64, 1), ctypes.c_size_t(2)),
    "dispatch_array_with_group_size": lambda: (
        (ctypes.c_uint64 * 1)(64),
        ctypes.c_size_t(1),
        (ctypes.c_uint64 * 1)(64),
        ctypes.c_size_t(1),
    ),
}


@pytest.mark.parametrize("dispatch", DISPATCHES)
def test_dispatch(shim, constants, dispatch):
    output = zeros(ctypes.c_float, 64)

    def encode():
        set_arguments(shim, constants, tensor(output), offset=-(2**33))
        getattr(shim, dispatch)(constants, *DISPATCHES[dispatch]())

    shim.in_block(constants, encode)
    assert list(output) == [ctypes.c_float(2.0 * (1 + i % 4) - 2**33).value for i in range(64)]


def test_storage_offset(shim, constants, emulator):
    emulator.options(check_memory=True)
    output = zeros(ctypes.c_float, 100)
    scale = tensor(floats([7.0, 1.0]), offset=1)

    def encode():
        set_arguments(shim, constants, tensor(output, offset=36), scale=scale)
        shim.dispatch_single(constants, ctypes.c_uint64(64))

    shim.in_block(constants, encode)
    assert list(output[:40]) == [0.0] * 36 + [4.0, 5.0, 6.0, 7.0]


def test_same_function_for_the_same_name(emulator, shim):
    library = shim.make("create_shader_library", emulator.sources["simd"].encode())
    first, second = (shim.make("get_kernel_function", library, b"bits").value for _ in range(2))
    assert first == second
    shim.delete_shader_library(library)


def test_errors_reach_the_caller(emulator, shim, constants):
    with pytest.raises(ShimError, match="not one of those translated"):
        shim.make("create_shader_library", b"kernel void f() {}")
    library = shim.make("create_shader_library", emulator.sources["simd"].encode())
    with pytest.raises(ShimError, match="no kernel 'g' in library 'simd', which has bits, complex_sum, "):
        shim.make("get_kernel_function", library, b"g")
    with pytest.raises(ShimError, match="not on the mps device"):
        shim.in_block(constants, lambda: set_arguments(shim, constants, tensor(zeros(ctypes.c_float, 64), device=CPU)))


def test_order_of_calls(emulator, shim, constants):
    output = tensor(zeros(ctypes.c_float, 64))
    library = shim.make("create_shader_library", emulator.sources["correct"].encode())
    other = shim.make("get_kernel_function", library, b"denormals")
    with pytest.raises(ShimError, match="start_encoding outside of a command block"):
        shim.start_encoding(constants)
    with pytest.raises(ShimError, match="an argument without start_encoding"):
        shim.in_block(constants, lambda: shim.set_arg_tensor(constants, 0, ctypes.byref(output)))
    with pytest.raises(ShimError, match="dispatch without start_encoding"):
        shim.in_block(constants, lambda: shim.dispatch_single(constants, ctypes.c_uint64(64)))
    with pytest.raises(
        ShimError, match="kernel 'denormals': start_encoding while kernel 'constants' is encoded but not"
    ):
        shim.in_block(constants, lambda: (shim.start_encoding(constants), shim.start_encoding(other)))
    with pytest.raises(ShimError, match="kernel 'constants' was encoded but not dispatched"):
        shim.in_block(constants, lambda: set_arguments(shim, constants, output))
    with pytest.raises(ShimError, match=r"argument 0 \('output'\) is not set"):
        shim.in_block(
            constants, lambda: (shim.start_encoding(constants), shim.dispatch_single(constants, ctypes.c_uint64(64)))
        )
    shim.delete_shader_library(library)


def test_a_faulty_kernel_fails_its_command_block(emulator, shim):
    library = shim.make("create_shader_library", emulator.sources["wrong"].encode())
    function = shim.make("get_kernel_function", library, b"barrier_in_branch")
    output = tensor(zeros(ctypes.c_float, 64))

    def encode():
        shim.start_encoding(function)
        shim.set_arg_tensor(function, 0, ctypes.byref(output))
        shim.dispatch_single(function, ctypes.c_uint64(64))

    with pytest.raises(ShimError, match="barrier divergence"):
        shim.in_block(function, encode)
    shim.delete_shader_library(library)


def test_memory(shim):
    first, second = ctypes.c_void_p(), ctypes.c_void_p()
    for block in (first, second):
        shim.malloc(ctypes.byref(block), ctypes.c_size_t(64))
    data = (ctypes.c_uint8 * 32)(*range(32))
    shim.memcpy(first, ctypes.c_size_t(8), ctypes.c_size_t(4), ctypes.c_size_t(16), data)
    shim.copy_buffer(first, second, ctypes.c_size_t(16), ctypes.c_size_t(8), ctypes.c_size_t(48))
    assert list((ctypes.c_uint8 * 64).from_address(second.value)[48:]) == list(range(4, 20))
    with pytest.raises(ShimError, match="a copy beyond the end of device memory"):
        shim.copy_buffer(first, second, ctypes.c_size_t(16), ctypes.c_size_t(8), ctypes.c_size_t(49))
    shim.free(first)
    shim.free(second)
    with pytest.raises(ShimError, match="this is not device memory"):
        shim.memcpy(ctypes.byref(data), ctypes.c_size_t(0), ctypes.c_size_t(0), ctypes.c_size_t(1), data)
