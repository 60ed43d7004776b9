// The Python face of the emulated Apple GPU. Loading this library registers the device; metalsvd.emulator wraps the
// rest.

#include <pybind11/pybind11.h>

#include "controls.h"
#include "memory.h"

namespace py = pybind11;
namespace emulator = metalsvd::emulator;

PYBIND11_MODULE(_emulator, m) {
  m.doc() = "The emulated Apple GPU; use it through metalsvd.emulator.";

  py::enum_<emulator::Order>(m, "Order")
      .value("forward", emulator::Order::forward)
      .value("reverse", emulator::Order::reverse)
      .value("random", emulator::Order::random);

  py::class_<emulator::Options>(m, "Options")
      .def_readwrite("order", &emulator::Options::order)
      .def_readwrite("seed", &emulator::Options::seed)
      .def_readwrite("check_memory", &emulator::Options::check_memory)
      .def_readwrite("keep_denormals", &emulator::Options::keep_denormals)
      .def_readwrite("wide_lanes", &emulator::Options::wide_lanes);
  m.def("options", &emulator::options, "A copy of the options in force.");
  m.def("set_options", &emulator::set_options, py::arg("options"));

  py::class_<emulator::Counters>(m, "Counters")
      .def_readonly("dispatches", &emulator::Counters::dispatches)
      .def_readonly("threadgroups", &emulator::Counters::threadgroups)
      .def_readonly("threads", &emulator::Counters::threads)
      .def_readonly("barriers", &emulator::Counters::barriers)
      .def_readonly("simd_operations", &emulator::Counters::simd_operations)
      .def_readonly("bytes_read", &emulator::Counters::bytes_read)
      .def_readonly("bytes_written", &emulator::Counters::bytes_written)
      .def_readonly("host_waits", &emulator::Counters::host_waits)
      .def_readonly("multiply_adds", &emulator::Counters::multiply_adds)
      .def_readonly("critical_barriers", &emulator::Counters::critical_barriers)
      .def_readonly("critical_simd_operations", &emulator::Counters::critical_simd_operations)
      .def_readonly("critical_multiply_adds", &emulator::Counters::critical_multiply_adds);
  m.def("counters", &emulator::counters);
  m.def("reset_counters", &emulator::reset_counters);

  m.def("live_bytes", &emulator::live_bytes);
  m.def("peak_bytes", &emulator::peak_bytes);
  m.def("reset_peak_bytes", &emulator::reset_peak_bytes);
  m.def("damaged_blocks", &emulator::damaged_blocks);
}
