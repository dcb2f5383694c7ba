#include "machine/collector.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "machine/machine.hpp"

namespace reft {
namespace {

class Collector {
 public:
  explicit Collector(Machine& machine)
      : machine_(machine), from_(machine.vm.arena), to_(machine.vm.spare) {}
  ~Collector() { std::free(pending_); }
  Collector(const Collector&) = delete;
  Collector& operator=(const Collector&) = delete;

  void visit_roots();
  void visit_pending() {
    while (pending_size_ > 0) scan(pending_[--pending_size_]);
  }

 private:
  // ---- moving: an object, once; where it was it leaves its new address
  template <typename T>
  void visit(T*& object) {
    Object* moved = object;
    move(moved);
    object = static_cast<T*>(moved);
  }
  void visit(Value& value) {
    if (value.is_object()) move(value.o);
  }
  void visit(Value* values, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) visit(values[i]);
  }
  void move(Object*& object);
  static std::size_t size_of(const Object& object);
  void push(Object* object);

  // ---- fixing what a moved object holds
  void scan(Object* object);
  void scan_dict(Dict& dict);
  void scan_set(Set& set);
  void scan_function(Function& function);
  void scan_generator(Generator& generator);
  template <typename T>
  void copy_array(T*& array, std::size_t used, std::size_t capacity) {
    if (array == nullptr || !from_.contains(array)) return;
    T* fresh = to_.array<T>(capacity);
    std::copy_n(array, used, fresh);
    array = fresh;
  }

  Machine& machine_;
  Arena& from_;
  Arena& to_;
  Object** pending_ = nullptr;  // moved, but not scanned
  std::size_t pending_size_ = 0;
  std::size_t pending_capacity_ = 0;
};

struct MovedObject : Object {
  Object* target;
};

std::size_t Collector::size_of(const Object& object) {
  switch (object.kind) {
    case Kind::kBig:
      return sizeof(Big) + static_cast<const Big&>(object).size * sizeof(std::uint64_t);
    case Kind::kTuple:
      return sizeof(Tuple) + static_cast<const Tuple&>(object).size * sizeof(Value);
    case Kind::kStr: return sizeof(Str);
    case Kind::kList: return sizeof(List);
    case Kind::kDict: return sizeof(Dict);
    case Kind::kSet: return sizeof(Set);
    case Kind::kRange: return sizeof(Range);
    case Kind::kSlice: return sizeof(Slice);
    case Kind::kIterator: return sizeof(Iterator);
    case Kind::kGenerator: return sizeof(Generator);
    case Kind::kDictView: return sizeof(DictView);
    case Kind::kFunction: return sizeof(Function);
    case Kind::kMethod: return sizeof(Method);
    case Kind::kException: return sizeof(Exception);
    case Kind::kCell: return sizeof(Cell);
    case Kind::kForeign: return sizeof(Foreign);
    default: stop(Status::kInternal, "an object that does not move");
  }
}

void Collector::push(Object* object) {
  if (pending_size_ == pending_capacity_) {
    std::size_t capacity = std::max<std::size_t>(1024, pending_capacity_ * 2);
    void* larger = std::realloc(pending_, capacity * sizeof(Object*));
    if (larger == nullptr) stop(Status::kMemoryLimit, "the machine has no memory left");
    pending_ = static_cast<Object**>(larger);
    pending_capacity_ = capacity;
  }
  pending_[pending_size_++] = object;
}

void Collector::move(Object*& object) {
  if (object == nullptr || !from_.contains(object)) return;
  if (object->kind == kMoved) {
    object = static_cast<MovedObject*>(object)->target;
    return;
  }
  std::size_t size = size_of(*object);
  auto* fresh = static_cast<Object*>(to_.allocate(size));
  std::memcpy(static_cast<void*>(fresh), object, size);
  object->kind = kMoved;
  static_cast<MovedObject*>(object)->target = fresh;
  object = fresh;
  push(fresh);
}

void Collector::scan_dict(Dict& dict) {
  copy_array(dict.entries, dict.used, dict.capacity);
  copy_array(dict.index, dict.slots, dict.slots);
  for (std::uint32_t i = 0; i < dict.used; ++i) {
    if (dict.entries[i].key.is_unbound()) continue;
    visit(dict.entries[i].key);
    visit(dict.entries[i].value);
  }
}

void Collector::scan_set(Set& set) {
  copy_array(set.table, set.mask + std::size_t{1}, set.mask + std::size_t{1});
  for (std::size_t i = 0; i <= set.mask; ++i) visit(set.table[i].key);
}

void Collector::scan_function(Function& function) {
  visit(function.defaults);
  visit(function.kw_defaults);
  copy_array(function.cells, function.code->free_count, function.code->free_count);
  for (std::uint32_t i = 0; i < function.code->free_count; ++i) visit(function.cells[i]);
}

// A suspended generator's frame lies on the arena too.
void Collector::scan_generator(Generator& generator) {
  visit(generator.handled);
  if (generator.frame == nullptr) return;
  const Frame& old = *generator.frame;
  const Code& code = *old.code;
  auto* frame = static_cast<Frame*>(to_.allocate(sizeof(Frame)));
  *frame = old;
  auto depth = static_cast<std::size_t>(old.sp - old.stack);
  frame->locals = to_.array<Value>(std::size_t{code.locals} + code.stack);
  frame->stack = frame->locals + code.locals;
  frame->sp = frame->stack + depth;
  std::copy_n(old.locals, code.locals, frame->locals);
  std::copy_n(old.stack, depth, frame->stack);
  frame->generator = &generator;
  generator.frame = frame;
  auto* function = const_cast<Function*>(frame->function);
  visit(function);
  frame->function = function;
  visit(frame->locals, code.locals);
  visit(frame->stack, depth);
}

void Collector::scan(Object* object) {
  switch (object->kind) {
    case Kind::kStr: {
      auto& text = static_cast<Str&>(*object);
      char* data = const_cast<char*>(text.data);
      copy_array(data, text.bytes, text.bytes);
      text.data = data;
      text.buffer = nullptr;
      break;
    }
    case Kind::kTuple: {
      auto& tuple = static_cast<Tuple&>(*object);
      visit(tuple.items, tuple.size);
      break;
    }
    case Kind::kList: {
      auto& list = static_cast<List&>(*object);
      copy_array(list.items, list.size, list.capacity);
      visit(list.items, list.size);
      break;
    }
    case Kind::kDict: scan_dict(static_cast<Dict&>(*object)); break;
    case Kind::kSet: scan_set(static_cast<Set&>(*object)); break;
    case Kind::kSlice: {
      auto& slice = static_cast<Slice&>(*object);
      visit(slice.start);
      visit(slice.stop);
      visit(slice.step);
      break;
    }
    case Kind::kIterator: {
      auto& iterator = static_cast<Iterator&>(*object);
      visit(iterator.a);
      visit(iterator.b);
      visit(iterator.c);
      break;
    }
    case Kind::kGenerator: scan_generator(static_cast<Generator&>(*object)); break;
    case Kind::kDictView: visit(static_cast<DictView&>(*object).dict); break;
    case Kind::kFunction: scan_function(static_cast<Function&>(*object)); break;
    case Kind::kMethod: visit(static_cast<Method&>(*object).self); break;
    case Kind::kException: {
      auto& exception = static_cast<Exception&>(*object);
      visit(exception.args);
      visit(exception.cause);
      break;
    }
    case Kind::kCell: visit(static_cast<Cell&>(*object).value); break;
    default: break;  // numbers, ranges: nothing inside
  }
}

void Collector::visit_roots() {
  Machine& m = machine_;
  visit(m.globals, m.global_count);
  visit(m.handled);
  visit(m.last_value);
  visit(m.vm.output);
  for (Frame* frame = m.frame; frame != nullptr; frame = frame->back) {
    auto* function = const_cast<Function*>(frame->function);
    visit(function);
    frame->function = function;
    visit(frame->locals, frame->code->locals);
    visit(frame->stack, static_cast<std::size_t>(frame->sp - frame->stack));
  }
}

}  // namespace

std::size_t collect_garbage(Machine& machine) {
  Vm& vm = machine.vm;
  const std::size_t limit = vm.limits.max_memory_bytes - vm.fixed.used();
  vm.spare.reset(limit);
  Collector collector(machine);
  collector.visit_roots();
  collector.visit_pending();
  vm.arena.swap(vm.spare);
  vm.spare.reset(limit);
  vm.charge(vm.arena.used() / 64 + 1);
  return vm.arena.used();
}

}  // namespace reft
