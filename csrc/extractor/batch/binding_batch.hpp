// Rows borrowed from Python, and a batch of them as Python sees it. Part of binding.cpp.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cxxabi.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "batch/batch.hpp"

namespace py = pybind11;

namespace reft {

// The interpreter lock, let go of. While the interpreter ends, a thread does not get it back:
// Python would unwind it then, and so let destructors touch Python without the lock. It waits for
// the end.
class Released {
 public:
  Released() : state_(PyEval_SaveThread()) {}
  ~Released() {
    try {
      PyEval_RestoreThread(state_);
    } catch (abi::__forced_unwind&) {
      while (true) pause();
    }
  }
  Released(const Released&) = delete;
  Released& operator=(const Released&) = delete;

 private:
  PyThreadState* const state_;
};

constexpr double kTick = 0.1;  // seconds between two looks at signals
constexpr const char* kSurrogates = "lone surrogates";
constexpr const char* kNoText = "neither str nor bytes";

// The rows of a batch as Python objects, kept alive, and their texts.
struct Rows {
  py::tuple objects;
  std::vector<std::string_view> texts;
  std::vector<Batch::Refused> refused;

  Rows(const py::object& sequence, bool strict) : objects(sequence) {
    auto count = static_cast<std::size_t>(PyTuple_GET_SIZE(objects.ptr()));
    if (count > UINT32_MAX / 4) throw py::value_error("too many rows for one batch");
    texts.reserve(count);
    for (std::size_t row = 0; row < count; ++row) {
      if (row + 8 < count) __builtin_prefetch(item(row + 8));
      borrow(static_cast<std::uint32_t>(row), strict);
    }
  }

 private:
  PyObject* item(std::size_t row) const {
    return PyTuple_GET_ITEM(objects.ptr(), static_cast<Py_ssize_t>(row));
  }

  void borrow(std::uint32_t row, bool strict) {
    PyObject* object = item(row);
    Py_ssize_t size = 0;
    if (PyUnicode_Check(object)) {
      const char* text = PyUnicode_AsUTF8AndSize(object, &size);
      if (text != nullptr) {
        texts.emplace_back(text, static_cast<std::size_t>(size));
        return;
      }
      if (PyErr_ExceptionMatches(PyExc_UnicodeEncodeError) == 0) throw py::error_already_set();
      PyErr_Clear();
      refused.push_back({row, Status::kSyntaxError, kSurrogates});
    } else if (PyBytes_Check(object)) {
      texts.emplace_back(PyBytes_AS_STRING(object), static_cast<std::size_t>(Py_SIZE(object)));
      return;
    } else if (strict) {
      throw py::type_error("row " + std::to_string(row) + " must be str or bytes, saw " +
                           Py_TYPE(object)->tp_name);
    } else {
      refused.push_back({row, Status::kInternal, kNoText});
    }
    texts.emplace_back();
  }
};

inline py::str decoded(std::string_view text) {
  PyObject* made =
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace");
  if (made == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(made);
}

// A batch as Python sees it. Indices are of rows unless said otherwise.
class PyBatch {
 public:
  PyBatch(Rows rows, Work work, const BatchOptions& options, std::shared_ptr<Threads> threads)
      : objects_(std::move(rows.objects)),
        batch_(std::move(rows.texts), rows.refused, std::move(work), options, std::move(threads)) {}

  // True when done; false after `seconds`. Looks at signals meanwhile: Ctrl-C cancels the batch.
  bool wait(double seconds) {
    bool finished = batch_.done();
    double tick = std::min(kTick, std::max(0.0, seconds));
    while (!finished) {
      {
        Released released;
        finished = batch_.advance(tick);
      }
      seconds -= tick;
      if (finished || seconds <= 0) break;
      if (PyErr_CheckSignals() != 0) {
        batch_.cancel();
        throw py::error_already_set();
      }
    }
    return finished;
  }

  Batch& batch() { return batch_; }

  // Lets go of the rows: outcomes stay, programs can no longer be read.
  void forget_rows() {
    settled();
    objects_ = py::tuple();
    forgotten_ = true;
  }

  std::string_view text_of(std::uint32_t unique) const {
    if (forgotten_ || unique >= batch_.uniques()) throw py::index_error("no such program");
    return batch_.text_of(unique);
  }

  // One value for every row, in an array that is made when it is asked for.
  template <typename T, typename F>
  py::array column(F of_row) {
    settled();
    py::array_t<T> made(static_cast<py::ssize_t>(batch_.rows()));
    T* out = made.mutable_data();
    for (std::uint32_t row = 0; row < batch_.rows(); ++row) out[row] = of_row(row);
    return made;
  }

  const Outcome& at(std::uint32_t row) {
    settled();
    if (row >= batch_.rows()) throw py::index_error("no such row");
    return batch_.outcome(batch_.unique_of(row));
  }

 private:
  void settled() {
    if (!batch_.done()) throw std::runtime_error("the batch has not been waited for");
  }

  py::tuple objects_;
  bool forgotten_ = false;
  Batch batch_;  // after what it points into: destroyed first
};

}  // namespace reft
