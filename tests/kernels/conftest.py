import pytest
from metal_harness import Emulator


@pytest.fixture(scope="session")
def compiled(pytestconfig):
    """The folder of what is compiled once; later sessions compile what has changed."""
    return pytestconfig.cache.mkdir("emulated-kernels")


@pytest.fixture(scope="session")
def built_emulator(compiled):
    return Emulator(compiled)


@pytest.fixture
def emulator(built_emulator):
    built_emulator.options()
    built_emulator.counters()
    return built_emulator


@pytest.fixture(params=["forward", "reverse", "random", "checked"])
def any_order(request, emulator):
    """The emulator, once in every order of the threads and once with the memory check on."""
    if request.param == "checked":
        emulator.options(check_memory=True)
    else:
        emulator.options(order=request.param, seed=20261121)
    return emulator
