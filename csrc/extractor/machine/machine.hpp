// Runs code: frames, calls, exceptions, generators.
//
// An operation is a function of the machine and its argument; the loop that calls them is in
// machine.cpp. Calls of functions push a frame and go on in the same loop; only natives that call
// back (sorted with a key, next of a generator) run the loop again, to a bounded depth.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/vm.hpp"
#include "compiler/code.hpp"

namespace reft {

struct Frame {
  const Code* code;
  const Function* function;  // null: the module
  const std::uint32_t* ip;   // saved while another frame runs
  Value* sp;                 // saved likewise
  Value* locals;
  Value* stack;  // first value above the locals
  Frame* back;
  Generator* generator;  // null, or whose frame this is
  bool entry;            // the loop returns when this frame does
};

class Machine {
 public:
  explicit Machine(Vm& vm);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Makes ready for a program with that many module variables; `names` spells them.
  void reset(std::uint32_t global_count, const Symbol* names);

  // Runs the module's code, or a function with arguments, to its end.
  void run_module(const Code& code);
  Value call(const Function& function, const Args& args);
  bool resume(Generator& generator, Value sent, Value& out);

  // ---- for the operations
  // Calls `callee`; the result takes the place of `at`, and what is above it goes.
  void call_from_stack(Value callee, const Args& args, Value* at);
  void enter(const Function& function, const Args& args, bool entry);
  void leave(Value result);
  void yield(Value item);
  void make_generator();

  // At the end of a loop's round: collects garbage when there is much.
  void round() {
    if (vm.arena.used() >= collect_at && vm.native_depth == 1) collect();
  }

  Value pop() { return *--sp; }
  void push(Value value) { *sp++ = value; }
  Value& top() { return sp[-1]; }

  Vm& vm;
  Frame* frame = nullptr;
  const std::uint32_t* ip = nullptr;
  Value* sp = nullptr;
  Value* locals = nullptr;
  Value* globals = nullptr;
  const Symbol* global_names = nullptr;
  std::uint32_t global_count = 0;
  Value handled;          // the exception being handled, for a bare `raise`
  Value handled_outside;  // by who resumed the running generator, or further out
  Value last_value;       // of the last expression statement of the module
  // Generators suspended inside a try, whose end CPython would run when it drops them.
  std::uint32_t guarded = 0;
  std::size_t collect_at = 0;  // bytes on the arena; beyond the limit: no more

 private:
  Frame* push_frame(const Code& code, const Function* function, bool entry);
  void pop_frame();
  void switch_to(Frame* target);
  Value run();
  static const Handler* handler_at(const Code& code, const std::uint32_t* at);
  bool unwind();
  void bind(const Code& code, const Function& function, const Args& args);
  void bind_keywords(const Code& code, const Args& args, Dict* rest);
  void bind_defaults(const Code& code, const Function& function);
  void make_cells(const Code& code);
  void collect();

  static constexpr std::size_t kStackBytes = 4u << 20;
  static constexpr std::uint32_t kMaxNativeDepth = 100;

  char* stack_ = nullptr;  // kStackBytes of address space
  char* free_ = nullptr;   // its unused part
  char* high_ = nullptr;   // how far it has been used
  bool halted_ = false;
  bool yielded_ = false;
  Value result_;
};

using OpFn = void (*)(Machine& m, std::uint32_t arg);
#define OP(name) void op_##name(Machine& m, std::uint32_t arg);
#include "compiler/opcodes.inc"
#undef OP

// a.name of any value (attributes.cpp); AttributeError.
Value get_attribute(Vm& vm, Value a, Symbol name);
[[noreturn]] void no_attribute(Vm& vm, Value a, Symbol name);
// What a Foreign of module typing says it is: subscripts of it are taken for annotations.
extern const char* const kTyping;
// The module of that name, as far as there is one.
Value import_module(Vm& vm, Symbol name);
Value module_member(Vm& vm, const Module& module, Symbol name);

}  // namespace reft
