// One program from its text to its outcome.
#include "extract/extract.hpp"

#include <time.h>

#include <cmath>
#include <cstring>
#include <exception>
#include <limits>

#include "compiler/compiler.hpp"
#include "machine/machine.hpp"
#include "operators/operators.hpp"
#include "syntax/lexer.hpp"
#include "syntax/parser.hpp"
#include "syntax/program_text.hpp"
#include "syntax/scope.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

constexpr std::size_t kLookedAt = 16;  // times max_source_bytes

std::uint64_t now_nanos() {
  timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(time.tv_nsec);
}

bool is_ascii(std::string_view text) {
  std::uint64_t seen = 0;
  std::size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    seen |= word;
  }
  for (; i < text.size(); ++i) seen |= static_cast<unsigned char>(text[i]);
  return (seen & 0x8080808080808080u) == 0;
}

// Well-formed UTF-8, surrogates not allowed.
bool is_utf8(std::string_view text) {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const auto* end = at + text.size();
  while (at < end) {
    if (*at < 0x80) {
      ++at;
      continue;
    }
    std::uint32_t size = utf8_length(*at);
    if (*at < 0xC2 || *at > 0xF4 || static_cast<std::size_t>(end - at) < size) return false;
    for (std::uint32_t i = 1; i < size; ++i) {
      if ((at[i] & 0xC0) != 0x80) return false;
    }
    char32_t code_point = decode_utf8(reinterpret_cast<const char*>(at));
    constexpr char32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code_point < kLeast[size] || code_point > 0x10FFFF) return false;
    if (code_point >= 0xD800 && code_point < 0xE000) return false;
    at += size;
  }
  return true;
}

// A copy that ends in "\n\0", with every line end a '\n'; for the reference, `sys.exit` as `print`.
std::string_view copy_source(Vm& vm, std::string_view text, bool reft) {
  char* copy = vm.arena.array<char>(text.size() + 2);
  std::size_t size = text.size();
  if (std::memchr(text.data(), '\r', text.size()) == nullptr) {
    std::memcpy(copy, text.data(), text.size());
  } else {
    size = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (text[i] != '\r') {
        copy[size++] = text[i];
      } else {
        copy[size++] = '\n';
        if (i + 1 < text.size() && text[i + 1] == '\n') ++i;
      }
    }
  }
  if (reft) {
    constexpr std::string_view kExit = "sys.exit";
    std::size_t to = 0;
    for (std::size_t from = 0; from < size;) {
      if (std::string_view(copy + from, size - from).substr(0, kExit.size()) == kExit) {
        std::memcpy(copy + to, "print", 5);
        to += 5;
        from += kExit.size();
      } else {
        copy[to++] = copy[from++];
      }
    }
    size = to;
  }
  copy[size] = '\n';
  copy[size + 1] = '\0';
  return {copy, size};
}

// Can it be called without arguments?
bool is_entry(const Value& value) {
  switch (value.kind) {
    case Kind::kFunction: {
      const Function& function = *value.as<Function>();
      const Code& code = *function.code;
      std::uint32_t defaults = function.defaults == nullptr ? 0 : function.defaults->size;
      std::uint32_t keyword_defaults =
          function.kw_defaults == nullptr ? 0 : function.kw_defaults->size;
      return code.positional == defaults && code.keyword_only == keyword_defaults;
    }
    case Kind::kNative:
    case Kind::kMethod:
    case Kind::kType: return true;
    case Kind::kForeign: unsupported(value.as<Foreign>()->what);
    default: return false;
  }
}

}  // namespace

struct Runner::State {
  State() : machine(vm), symbols(vm) { vm.machine = &machine; }

  void run(std::string_view source, const Options& options, Outcome& outcome);
  Value answer(const Options& options, const Tree& tree);
  Value variable(const Tree& tree, Symbol symbol) const;
  void report(Value result, const Options& options, Outcome& outcome);

  Vm vm;
  Machine machine;
  SymbolTable symbols;
};

Runner::Runner() : state_(std::make_unique<State>()) {}
Runner::~Runner() = default;

void Runner::run(std::string_view source, const Options& options,
                 const std::atomic<bool>* cancelled, Outcome& outcome) noexcept {
  std::uint64_t start = now_nanos();
  outcome.value = std::numeric_limits<double>::quiet_NaN();
  outcome.status = Status::kInternal;
  outcome.exc = Exc::kNone;
  outcome.begin = 0;
  outcome.end = static_cast<std::uint32_t>(source.size());
  outcome.why = outcome.type = "";
  outcome.text_size = 0;
  Vm& vm = state_->vm;
  vm.reset(options.limits);
  vm.cancelled = cancelled;
  vm.keep_output = options.entry == Entry::kStdout;
  try {
    state_->run(source, options, outcome);
  } catch (const Stop& stop) {
    outcome.status = stop.status;
    outcome.why = stop.why;
  } catch (const Raised&) {
    outcome.status = Status::kRuntimeError;
    outcome.exc = vm.raised.as<Exception>()->type;
  } catch (const std::exception&) {
    outcome.status = Status::kInternal;
    outcome.why = "an exception that should not be";
  }
  vm.cancelled = nullptr;
  outcome.steps = static_cast<std::uint32_t>(
      std::min<std::int64_t>(vm.steps(), std::numeric_limits<std::uint32_t>::max()));
  outcome.nanos = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(now_nanos() - start, std::numeric_limits<std::uint32_t>::max()));
}

void Runner::State::run(std::string_view source, const Options& options, Outcome& outcome) {
  // What is too long but no Python is a syntax error all the same: looked at up to a bound.
  const bool too_long = source.size() > options.limits.max_source_bytes;
  if (source.size() / kLookedAt > options.limits.max_source_bytes) {
    stop(Status::kInputLimit, "bytes of source");
  }
  if (!is_ascii(source) && !is_utf8(source)) syntax_error("no UTF-8");
  std::string_view program = options.strip_fences ? strip_fences(source) : source;
  const bool reft = options.compat == Compat::kReft;
  if (options.entry == Entry::kSolution && (options.cut || reft)) {
    program = reft ? cut_at_blank_line(program) : cut_program(program);
    if (program.empty()) {
      outcome.end = 0;
      stop(Status::kNoEntry, "no definition of solution");
    }
  }
  outcome.begin = static_cast<std::uint32_t>(program.data() - source.data());
  outcome.end = outcome.begin + static_cast<std::uint32_t>(program.size());
  if (std::memchr(program.data(), '\0', program.size()) != nullptr)
    syntax_error("a null character");

  symbols.reset();
  Lexer lexer(vm, symbols, copy_source(vm, program, reft));
  Parser parser(vm, symbols, lexer);
  Tree tree = parser.parse_module();
  if (too_long) stop(Status::kInputLimit, "bytes of source");
  resolve_scopes(vm, *tree.module, reft);
  Code* code = compile_module(vm, tree);

  const Scope& module = *tree.module;
  auto* names = vm.arena.array<Symbol>(module.locals);
  for (std::uint32_t i = 0; i < module.size; ++i) {
    if (module.entries[i].place == Place::kGlobal)
      names[module.entries[i].slot] = module.entries[i].symbol;
  }
  machine.reset(module.locals, names);
  vm.fix();
  machine.run_module(*code);
  Value result = answer(options, tree);
  if (machine.guarded > 0) unsupported("a generator left inside a try");
  report(result, options, outcome);
}

Value Runner::State::variable(const Tree& tree, Symbol symbol) const {
  for (std::uint32_t i = 0; i < tree.module->size; ++i) {
    const Binding& entry = tree.module->entries[i];
    if (entry.symbol == symbol && entry.place == Place::kGlobal) return machine.globals[entry.slot];
  }
  return Value::unbound();
}

Value Runner::State::answer(const Options& options, const Tree& tree) {
  Depth module_frame(vm);  // whose last line would be the call
  Value value;
  switch (options.entry) {
    case Entry::kSolution:
      value = variable(tree, N_solution);
      if (value.is_unbound() || !is_entry(value))
        stop(Status::kNoEntry, "no zero-argument solution");
      return call(vm, value, Args{nullptr, 0});
    case Entry::kAns: value = variable(tree, N_ans); break;
    case Entry::kAnswer: value = variable(tree, N_answer); break;
    case Entry::kStdout: {
      std::string_view printed = vm.output == nullptr ? "" : strip_space(vm.output->view());
      if (printed.empty()) stop(Status::kNoEntry, "nothing was printed");
      return borrow_str(vm, printed);
    }
    case Entry::kLastExpr: {
      const Node* last = tree.body;
      while (last != nullptr && last->next != nullptr) last = last->next;
      if (last != nullptr && last->kind == NodeKind::kExpression) value = machine.last_value;
      break;
    }
  }
  if (value.is_unbound()) stop(Status::kNoEntry, "no such value");
  return value;
}

void Runner::State::report(Value result, const Options& options, Outcome& outcome) {
  if (result.is(Kind::kForeign)) unsupported(result.as<Foreign>()->what);
  outcome.type = type_name(result);
  double number;
  const bool numeric = to_float(vm, result, number);
  if (options.want_text) {
    const Str& text = *str(vm, result).as<Str>();
    std::uint32_t size = std::min<std::uint32_t>(text.bytes, kTextBytes);
    while (size < text.bytes && size > 0 && (text.data[size] & 0xC0) == 0x80) --size;
    std::memcpy(outcome.text, text.data, size);
    outcome.text_size = static_cast<std::uint8_t>(size);
  }
  if (numeric) {
    outcome.value = number;
    outcome.status = std::isfinite(number) ? Status::kOk : Status::kOkNonfinite;
  } else {
    outcome.status = options.want_text ? Status::kOk : Status::kNonNumeric;
  }
}

}  // namespace reft
