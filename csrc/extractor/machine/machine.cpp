// The loop, frames and unwinding.
#include "machine/machine.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <new>

#include "builtins/builtins.hpp"
#include "containers/containers.hpp"
#include "containers/iterate.hpp"
#include "machine/collector.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

constexpr OpFn kOps[] = {
#define OP(name) op_##name,
#include "compiler/opcodes.inc"
#undef OP
};

constexpr std::size_t kKeptStack = 256u << 10;  // resident from program to program

}  // namespace

Machine::Machine(Vm& owner) : vm(owner) {
  void* memory = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  stack_ = free_ = high_ = static_cast<char*>(memory);
}

Machine::~Machine() { munmap(stack_, kStackBytes); }

void Machine::reset(std::uint32_t count, const Symbol* names) {
  if (high_ > stack_ + kKeptStack) madvise(stack_, kStackBytes, MADV_DONTNEED);
  free_ = high_ = stack_;
  frame = nullptr;
  ip = nullptr;
  sp = locals = nullptr;
  halted_ = yielded_ = false;
  guarded = 0;
  handled = handled_outside = last_value = Value::none();
  globals = vm.arena.array<Value>(count);
  std::fill_n(globals, count, Value::unbound());
  collect_at = vm.limits.collect_bytes <= vm.limits.max_memory_bytes / 2 ? vm.limits.collect_bytes
                                                                         : SIZE_MAX;
  global_names = names;
  global_count = count;
}

Frame* Machine::push_frame(const Code& code, const Function* function, bool entry) {
  if (vm.depth >= vm.limits.max_frames) {
    vm.raise(Exc::kRecursionError, "maximum recursion depth exceeded");
  }
  std::size_t values = std::size_t{code.locals} + code.stack;
  std::size_t bytes = sizeof(Frame) + values * sizeof(Value) + 8;
  if (bytes > static_cast<std::size_t>(stack_ + kStackBytes - free_)) {
    stop(Status::kMemoryLimit, "the stack of frames");
  }
  ++vm.depth;
  static_assert(sizeof(Frame) % 8 == 0);
  auto* fresh = reinterpret_cast<Frame*>(free_);
  auto* base = reinterpret_cast<Value*>((reinterpret_cast<std::uintptr_t>(fresh + 1) + 15) &
                                        ~std::uintptr_t{15});
  free_ = reinterpret_cast<char*>(base + values);
  high_ = std::max(high_, free_);
  *fresh = {&code, function, code.words, base + code.locals, base, base + code.locals,
            frame, nullptr,  entry};
  std::fill_n(base, code.locals, Value::unbound());
  return fresh;
}

void Machine::switch_to(Frame* target) {
  if (frame != nullptr) {
    frame->ip = ip;
    frame->sp = sp;
  }
  frame = target;
  ip = target->ip;
  sp = target->sp;
  locals = target->locals;
}

// Back to the frame below; the one that ends is forgotten.
void Machine::pop_frame() {
  --vm.depth;
  Frame* ended = frame;
  if (ended->generator == nullptr) free_ = reinterpret_cast<char*>(ended);
  frame = ended->back;
  if (frame == nullptr) return;
  ip = frame->ip;
  sp = frame->sp;
  locals = frame->locals;
}

void Machine::leave(Value result) {
  const bool entry = frame->entry;
  if (frame->generator != nullptr) frame->generator->frame = nullptr;
  pop_frame();
  if (entry) {
    halted_ = true;
    yielded_ = false;
    result_ = result;
  } else {
    push(result);
  }
}

Value Machine::run() {
  if (vm.native_depth >= kMaxNativeDepth) unsupported("builtins nested too deeply");
  ++vm.native_depth;
  for (;;) {
    try {
      while (!halted_) {
        vm.step();
        std::uint32_t word = *ip++;
        kOps[word & 0xFF](*this, word >> 8);
      }
      halted_ = false;
      --vm.native_depth;
      return result_;
    } catch (const Raised&) {
      if (!unwind()) {
        --vm.native_depth;
        throw;
      }
    }
  }
}

// The innermost handler of what runs before `ip`, or null.
const Handler* Machine::handler_at(const Code& code, const std::uint32_t* at) {
  auto position = static_cast<std::uint32_t>(at - code.words) - 1;
  for (std::uint32_t i = 0; i < code.handler_count; ++i) {
    const Handler& handler = code.handlers[i];
    if (position >= handler.start && position < handler.end) return &handler;
  }
  return nullptr;
}

// Finds the handler of vm.raised, leaving frames that have none; false if the entry frame has none.
bool Machine::unwind() {
  for (;;) {
    if (const Handler* handler = handler_at(*frame->code, ip)) {
      vm.charge(1);
      sp = frame->stack + handler->depth;
      push(vm.raised);
      ip = frame->code->words + handler->target;
      return true;
    }
    const bool entry = frame->entry;
    if (frame->generator != nullptr) frame->generator->frame = nullptr;
    pop_frame();
    if (entry) return false;
  }
}

void Machine::run_module(const Code& code) {
  switch_to(push_frame(code, nullptr, true));
  run();
}

Value Machine::call(const Function& function, const Args& args) {
  enter(function, args, true);
  return run();
}

// Only between two instructions of the outermost loop: no native holds a value then.
void Machine::collect() {
  frame->ip = ip;
  frame->sp = sp;
  result_ = vm.raised = Value::unbound();
  std::size_t live = collect_garbage(*this);
  sp = frame->sp;
  locals = frame->locals;
  // While both copies fit the limit; a program that keeps more runs without.
  std::size_t next = std::max<std::size_t>(vm.limits.collect_bytes, 2 * live);
  collect_at = next <= vm.limits.max_memory_bytes / 2 ? next : SIZE_MAX;
}

// ---- calls

void Machine::call_from_stack(Value callee, const Args& args, Value* at) {
  if (callee.is(Kind::kFunction)) {
    sp = at;
    enter(*callee.as<Function>(), args, false);
    return;
  }
  Value result =
      callee.is(Kind::kNative) ? callee.as<Native>()->fn(vm, args) : reft::call(vm, callee, args);
  *at = result;
  sp = at + 1;
}

void Machine::enter(const Function& function, const Args& args, bool entry) {
  const Code& code = *function.code;
  Frame* fresh = push_frame(code, &function, entry);
  if (code.plain && args.count == code.positional && args.keyword_count == 0) {
    std::copy_n(args.at, args.count, fresh->locals);
    switch_to(fresh);
    return;
  }
  switch_to(fresh);
  try {
    bind(code, function, args);
  } catch (const Raised&) {
    // The call failed: for the caller, not in the function.
    pop_frame();
    throw;
  }
}

Value call(Vm& vm, Value callee, const Args& args) {
  switch (callee.kind) {
    case Kind::kFunction: return vm.machine->call(*callee.as<Function>(), args);
    case Kind::kNative: return callee.as<Native>()->fn(vm, args);
    case Kind::kType: return construct(vm, *callee.as<Type>(), args);
    case Kind::kMethod: {
      const Method& method = *callee.as<Method>();
      vm.charge(args.count / 16 + 1);
      Value* with_self = vm.arena.array<Value>(args.count + 1);
      with_self[0] = method.self;
      std::copy_n(args.at, args.count, with_self + 1);
      return method.native->fn(vm, {with_self, args.count + 1, args.keywords, args.keyword_count});
    }
    case Kind::kForeign: unsupported(callee.as<Foreign>()->what);
    default: vm.raise_type("'%s' object is not callable", type_name(callee));
  }
}

// ---- generators

// Moves the running frame to the arena, where it outlives its caller, and returns the generator.
void Machine::make_generator() {
  const Code& code = *frame->code;
  std::size_t values = std::size_t{code.locals} + code.stack;
  auto* generator = vm.make<Generator>(Kind::kGenerator);
  auto* moved = static_cast<Frame*>(vm.arena.allocate(sizeof(Frame)));
  Value* base = vm.arena.array<Value>(values);
  std::copy_n(frame->locals, code.locals, base);
  *moved = *frame;
  moved->ip = ip;
  moved->locals = base;
  moved->stack = moved->sp = base + code.locals;
  moved->generator = generator;
  moved->entry = true;
  moved->back = nullptr;
  generator->frame = moved;
  generator->running = generator->started = generator->guarded = false;
  generator->handled = Value::none();
  leave(Value::object(generator));
}

void Machine::yield(Value item) {
  Frame* suspended = frame;
  suspended->ip = ip;
  suspended->sp = sp;
  suspended->generator->running = false;
  suspended->generator->handled = handled;
  if (handler_at(*suspended->code, ip) != nullptr) {
    suspended->generator->guarded = true;
    ++guarded;
  }
  pop_frame();
  halted_ = yielded_ = true;
  result_ = item;
}

bool Machine::resume(Generator& generator, Value sent, Value& out) {
  if (generator.running) vm.raise(Exc::kValueError, "generator already executing");
  if (generator.frame == nullptr) {
    out = Value::none();
    return false;
  }
  if (!generator.started && !sent.is_none()) {
    vm.raise_type("can't send non-None value to a just-started generator");
  }
  if (vm.depth >= vm.limits.max_frames) {
    vm.raise(Exc::kRecursionError, "maximum recursion depth exceeded");
  }
  ++vm.depth;
  generator.frame->back = frame;
  switch_to(generator.frame);
  if (generator.started) push(sent);
  generator.started = generator.running = true;
  if (generator.guarded) --guarded;
  generator.guarded = false;
  const Value outer = handled;
  const Value further = handled_outside;
  if (!outer.is_none()) handled_outside = outer;
  handled = generator.handled;
  try {
    out = run();
  } catch (const Raised&) {
    generator.running = false;
    handled = outer;
    handled_outside = further;
    if (is_subtype(vm.raised.as<Exception>()->type, Exc::kStopIteration)) {
      vm.raise(Exc::kRuntimeError, "generator raised StopIteration");
    }
    throw;
  }
  generator.running = false;
  handled = outer;
  handled_outside = further;
  return yielded_;
}

bool resume(Vm& vm, Generator& generator, Value sent, Value& out) {
  return vm.machine->resume(generator, sent, out);
}

}  // namespace reft
