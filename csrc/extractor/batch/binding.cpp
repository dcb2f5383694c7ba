// The module reft_megatron._extractor: rows borrowed from Python, columns given back as arrays.
//
// The interpreter lock is released while rows run; their texts are not copied. The Python face is
// reft_megatron/ops/extractor.py.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "batch/batch.hpp"
#include "batch/binding_batch.hpp"
#include "batch/client.hpp"
#include "batch/host.hpp"
#include "batch/threads.hpp"
#include "batch/work.hpp"
#include "extract/natural.hpp"

namespace reft {
namespace {

// The parts of a batch that are run by workers. Uniques are numbered as `unsupported` does.
py::str program_of(PyBatch& self, std::uint32_t unique) {
  std::string_view text = self.text_of(unique);
  const Outcome& outcome = self.batch().outcome(unique);
  return decoded(text.substr(outcome.begin, outcome.end - outcome.begin));
}

// What a worker made of a program: `detail` is the type of a result, or why there is none.
void amend(PyBatch& self, std::uint32_t unique, std::uint8_t status, std::uint16_t exc,
           double value, const std::string& text, const std::string& detail) {
  if (unique >= self.batch().uniques() || status > static_cast<int>(Status::kInternal) ||
      exc >= static_cast<int>(Exc::kCount)) {
    throw py::value_error("no such program, status or exception");
  }
  Outcome outcome = outcome_of(static_cast<Status>(status), "");
  outcome.value = value;
  outcome.exc = static_cast<Exc>(exc);
  std::size_t size = std::min<std::size_t>(text.size(), kTextBytes);
  while (size > 0 && size < text.size() && (text[size] & 0xC0) == 0x80) --size;
  std::copy_n(text.data(), size, outcome.text);
  outcome.text_size = static_cast<std::uint8_t>(size);
  bool of_type = outcome.status <= Status::kNonNumeric;
  self.batch().amend(unique, outcome, of_type ? "" : detail, of_type ? detail : "");
}

template <typename T>
T option(const py::dict& given, const char* name, T otherwise) {
  return given.contains(name) ? given[name].cast<T>() : otherwise;
}

Options options_of(const py::dict& given) {
  Options options;
  Limits& limits = options.limits;
  limits.max_source_bytes = option(given, "max_source_bytes", limits.max_source_bytes);
  limits.max_steps = option(given, "max_steps", limits.max_steps);
  limits.max_memory_bytes = option(given, "max_memory_bytes", limits.max_memory_bytes);
  limits.max_int_bits = option(given, "max_int_bits", limits.max_int_bits);
  limits.max_str_bytes = option(given, "max_str_bytes", limits.max_str_bytes);
  limits.max_items = option(given, "max_items", limits.max_items);
  limits.max_frames = option(given, "max_frames", limits.max_frames);
  limits.max_nesting = option(given, "max_nesting", limits.max_nesting);
  limits.max_output_bytes = option(given, "max_output_bytes", limits.max_output_bytes);
  // What the stacks of the threads are made for.
  if (limits.max_frames > 1'000 || limits.max_nesting > 200) {
    throw py::value_error("max_frames is at most 1000 and max_nesting at most 200");
  }
  options.compat = static_cast<Compat>(option(given, "compat", 0));
  options.entry = static_cast<Entry>(option(given, "entry", 0));
  options.cut = option(given, "cut", true);
  options.strip_fences = option(given, "strip_fences", false);
  return options;
}

// What an Extractor holds: options and threads, and with isolation "process" a process per thread.
class Engine {
 public:
  Engine(std::uint32_t threads, bool dedup, const py::dict& options)
      : options_(options_of(options)),
        dedup_(dedup),
        threads_(std::make_shared<Threads>(threads)) {}

  // From now on programs run in processes that `python` starts, each for `patience_s` at most.
  void isolate(std::string python, std::string extension, double patience_s) {
    if (options_.limits.max_source_bytes > kLongestProgram) {
      throw py::value_error("max_source_bytes is at most " + std::to_string(kLongestProgram) +
                            " with isolation \"process\"");
    }
    hosts_ = std::make_shared<Hosts>();
    hosts_->python = std::move(python);
    hosts_->extension = std::move(extension);
    hosts_->options = options_;
    hosts_->patience_s = patience_s;
  }

  std::unique_ptr<PyBatch> run(const py::object& rows, bool want_text, double deadline_s,
                               bool strict, bool background) {
    BatchOptions how{dedup_, options_.limits.max_steps, deadline_s, hosts_ != nullptr};
    if (hosts_ != nullptr) {
      return begin(Rows(rows, strict), programs_elsewhere(hosts_, want_text), how, background);
    }
    Options options = options_;
    options.want_text = want_text;
    return begin(Rows(rows, strict), programs(options), how, background);
  }

  std::unique_ptr<PyBatch> run_nl(const py::object& rows, std::string trigger, bool lenient,
                                  bool letter, bool strict) {
    BatchOptions how{false, 0, 0, false};  // reading is cheaper than finding what is equal
    NlMode mode = lenient ? NlMode::kLenient : NlMode::kReft;
    return begin(Rows(rows, strict), texts(std::move(trigger), mode, letter), how, false);
  }

  void close() {
    Released released;
    threads_->close();
  }

  std::uint32_t alive() {
    Released released;
    return threads_->alive();
  }

  // (processes started, lost, what protects the machine from the latest); zeros without any.
  std::array<std::uint32_t, 3> processes() const {
    if (hosts_ == nullptr) return {};
    return {hosts_->started.load(), hosts_->lost.load(), hosts_->in_force.load()};
  }

 private:
  std::unique_ptr<PyBatch> begin(Rows rows, Work work, const BatchOptions& how,
                                 bool background) const {
    auto made = std::make_unique<PyBatch>(std::move(rows), std::move(work), how, threads_);
    {
      Released released;
      made->batch().start(background);
      if (!background) made->batch().advance(kTick);
    }
    if (!background && !made->batch().done()) {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      made->wait(1e9);
    }
    return made;
  }

  const Options options_;
  const bool dedup_;
  const std::shared_ptr<Threads> threads_;
  std::shared_ptr<Hosts> hosts_;
};

py::str cut_program(const py::str& text, const py::dict& given) {
  Options options = options_of(given);
  options.limits.max_steps = 0;  // prepared, and not run
  Py_ssize_t size = 0;
  const char* data = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (data == nullptr) throw py::error_already_set();
  std::string_view source(data, static_cast<std::size_t>(size));
  Outcome outcome = outcome_of(Status::kInternal, "");
  Runner().run(source, options, nullptr, outcome);
  return decoded(source.substr(outcome.begin, outcome.end - outcome.begin));
}

py::tuple exception_names() {
  static constexpr const char* kNames[] = {
      "",
#define EXC(name, parent) #name,
#include "base/exceptions.inc"
#undef EXC
  };
  py::tuple names(std::size(kNames));
  for (std::size_t i = 0; i < std::size(kNames); ++i) names[i] = kNames[i];
  return names;
}

void define_batch(py::module_& module) {
  py::class_<PyBatch>(module, "Batch")
      .def("wait", &PyBatch::wait, py::arg("seconds"))
      .def("done", [](PyBatch& self) { return self.batch().done(); })
      .def("cancel", [](PyBatch& self) { self.batch().cancel(); })
      .def("__len__", [](PyBatch& self) { return self.batch().rows(); })
      .def("uniques", [](PyBatch& self) { return self.batch().uniques(); })
      .def("value",
           [](PyBatch& self) {
             return self.column<double>([&self](std::uint32_t row) { return self.at(row).value; });
           })
      .def("status",
           [](PyBatch& self) {
             return self.column<std::uint8_t>([&self](std::uint32_t row) {
               return static_cast<std::uint8_t>(self.at(row).status);
             });
           })
      .def("exc",
           [](PyBatch& self) {
             return self.column<std::uint16_t>([&self](std::uint32_t row) {
               return static_cast<std::uint16_t>(self.at(row).exc);
             });
           })
      .def("route",
           [](PyBatch& self) {
             return self.column<std::uint8_t>([&self](std::uint32_t row) {
               return static_cast<std::uint8_t>(self.batch().route(row));
             });
           })
      .def("steps",
           [](PyBatch& self) {
             return self.column<std::uint32_t>(
                 [&self](std::uint32_t row) { return self.at(row).steps; });
           })
      .def("nanos",
           [](PyBatch& self) {
             return self.column<std::uint32_t>(
                 [&self](std::uint32_t row) { return self.at(row).nanos; });
           })
      .def("text",
           [](PyBatch& self, std::uint32_t row) {
             const Outcome& outcome = self.at(row);
             return decoded({outcome.text, outcome.text_size});
           })
      .def("why", [](PyBatch& self, std::uint32_t row) { return decoded(self.at(row).why); })
      .def("type_name", [](PyBatch& self, std::uint32_t row) { return decoded(self.at(row).type); })
      .def("unsupported", [](PyBatch& self) { return self.batch().unsupported(); })
      .def("forget_rows", &PyBatch::forget_rows)
      .def("program", program_of, py::arg("unique"))
      .def("amend", amend, py::arg("unique"), py::arg("status"), py::arg("exc"), py::arg("value"),
           py::arg("text"), py::arg("detail"));
}

void define_engine(py::module_& module) {
  py::class_<Engine>(module, "Engine")
      .def(py::init<std::uint32_t, bool, const py::dict&>(), py::arg("threads"), py::arg("dedup"),
           py::arg("options"))
      .def("run", &Engine::run, py::arg("rows"), py::arg("want_text"), py::arg("deadline_s"),
           py::arg("strict"), py::arg("background"))
      .def("run_nl", &Engine::run_nl, py::arg("rows"), py::arg("trigger"), py::arg("lenient"),
           py::arg("letter"), py::arg("strict"))
      .def("isolate", &Engine::isolate, py::arg("python"), py::arg("extension"),
           py::arg("patience_s"))
      .def("alive", &Engine::alive)
      .def("processes", &Engine::processes)
      .def("close", &Engine::close);
}

}  // namespace
}  // namespace reft

PYBIND11_MODULE(_extractor, module) {
  module.doc() = "The C++ core of reft_megatron.ops.extractor.";
  module.attr("EXCEPTIONS") = reft::exception_names();
  module.def("cut_program", reft::cut_program, py::arg("text"), py::arg("options"));
  module.def("serve", reft::serve, py::arg("channel"), py::arg("parent"));
  reft::define_batch(module);
  reft::define_engine(module);
}
