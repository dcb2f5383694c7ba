// Builtin functions of any object and its type, and binding the arguments of builtins.
#include "builtins/builtin_functions.hpp"
#include "builtins/builtins.hpp"
#include "containers/containers.hpp"
#include "containers/iterators.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

// ---- attributes

// The symbol of an attribute name; kNameCount for a name that no built-in type has.
Symbol attribute_name(Vm& vm, Value name) {
  require_known(name);
  if (!name.is(Kind::kStr)) {
    vm.raise_type("attribute name must be string, not '%s'", type_name(name));
  }
  std::string_view text = name.as<Str>()->view();
  if (text.substr(0, 2) == "__") stop(Status::kDenied, "an attribute between double underscores");
  return find_name(text);
}

// The attribute, or unbound.
Value find_attribute(Vm& vm, Value object, Symbol name) {
  require_known(object);
  if (object.is(Kind::kFunction)) unsupported("attributes of functions");
  if (object.is(Kind::kModule)) {
    if (object.as<Module>()->name != N_math) unsupported("attributes of a module");
    return math_member(name);
  }
  if (object.is(Kind::kType)) {
    const Type& type = *object.as<Type>();
    if (type.id >= TypeId::kComplex && type.id <= TypeId::kSuper) unsupported("a foreign type");
    const Native* native = find_type_method(type, name);
    if (native != nullptr && native->fn == unsupported_method)
      unsupported("an attribute of a type");
    return native == nullptr ? Value::unbound() : static_value(*native);
  }
  Value data = data_attribute(vm, object, name);
  if (!data.is_unbound()) return data;
  const Native* native = find_method(object, name);
  if (native == nullptr) return Value::unbound();
  auto* method = vm.make<Method>(Kind::kMethod);
  method->native = native;
  method->self = object;
  return Value::object(method);
}

[[noreturn]] void raise_no_attribute(Vm& vm, Value object, const Str& name) {
  auto bytes = static_cast<int>(name.bytes < 512 ? name.bytes : 512);
  if (object.is(Kind::kModule)) {
    vm.raise(Exc::kAttributeError, "module 'math' has no attribute '%.*s'", bytes, name.data);
  }
  if (object.is(Kind::kType)) {
    std::string_view type = name_text(object.as<Type>()->name);
    vm.raise(Exc::kAttributeError, "type object '%s' has no attribute '%.*s'", type.data(), bytes,
             name.data);
  }
  vm.raise(Exc::kAttributeError, "'%s' object has no attribute '%.*s'", type_name(object), bytes,
           name.data);
}

// ---- types

bool is_subclass(const Type& type, const Type& ancestor) {
  if (ancestor.id == TypeId::kObject) return true;
  if (type.id == TypeId::kException && ancestor.id == TypeId::kException) {
    return is_subtype(type.exc, ancestor.exc);
  }
  if (type.id == TypeId::kBool && ancestor.id == TypeId::kInt) return true;
  return type.id == ancestor.id && type.id != TypeId::kIterator;
}

// Does CPython hash this by an address? Inside a dict or set that is unseen; hash() would tell.
bool hashed_by_address(Vm& vm, Value value) {
  switch (value.kind) {
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kBig:
    case Kind::kStr:
    case Kind::kList:  // and what else hash_value refuses
    case Kind::kDict:
    case Kind::kSlice: return false;
    case Kind::kFloat: return value.f != value.f;
    case Kind::kRange: return value.as<Range>()->size < 2;  // hashes a None
    case Kind::kDictView: return value.as<DictView>()->view == View::kValues;
    case Kind::kTuple: {
      Depth depth(vm);
      const Tuple& tuple = *value.as<Tuple>();
      vm.charge(tuple.size);
      for (std::uint32_t i = 0; i < tuple.size; ++i) {
        if (hashed_by_address(vm, tuple.items[i])) return true;
      }
      return false;
    }
    case Kind::kSet: {
      Depth depth(vm);
      vm.charge(value.as<Set>()->used);
      std::uint32_t position = 0;
      Value item;
      while (set_next(vm, *value.as<Set>(), position, item)) {
        if (hashed_by_address(vm, item)) return true;
      }
      return false;
    }
    default: return true;
  }
}

// Asks `test` of a type, or of the types in a tuple until one says yes.
template <typename Test>
bool any_type(Vm& vm, Value types, const char* complaint, Test test) {
  if (types.is(Kind::kType)) return test(*types.as<Type>());
  require_known(types);
  if (!types.is(Kind::kTuple)) vm.raise_type("%s", complaint);
  Depth depth(vm);
  const Tuple& tuple = *types.as<Tuple>();
  vm.charge(tuple.size);
  for (std::uint32_t i = 0; i < tuple.size; ++i) {
    if (any_type(vm, tuple.items[i], complaint, test)) return true;
  }
  return false;
}

[[noreturn]] void raise_given_twice(Vm& vm, const char* function, Symbol name,
                                    std::uint32_t position) {
  vm.raise_type("argument for %s() given by name ('%s') and position (%u)", function,
                name_text(name).data(), position);
}

}  // namespace

void bind_arguments(Vm& vm, const Args& args, const char* function,
                    std::initializer_list<Symbol> names, std::uint32_t required, Value* out) {
  expect_at_most(vm, args, function, static_cast<std::uint32_t>(names.size()));
  std::uint32_t i = 0;
  for (Symbol name : names) {
    const Value* keyword = args.keyword(name);
    if (i < args.count) {
      out[i] = args[i];
    } else if (keyword != nullptr) {
      out[i] = *keyword;
    } else if (i < required) {
      vm.raise_type("%s() missing required argument '%s' (pos %u)", function,
                    name_text(name).data(), i + 1);
    }
    ++i;
  }
  i = 0;
  for (Symbol name : names) {
    if (i++ < args.count && args.keyword(name) != nullptr) raise_given_twice(vm, function, name, i);
  }
  expect_keywords(vm, args, function, names);
}

bool is_instance(Value value, const Type& type) {
  switch (type.id) {
    case TypeId::kObject: return true;
    case TypeId::kException:
      return value.is(Kind::kException) && is_subtype(value.as<Exception>()->type, type.exc);
    case TypeId::kInt: return value.is_int();
    default: break;
  }
  if (value.is(Kind::kIterator)) {
    return type.id != TypeId::kIterator && iterator_type(*value.as<Iterator>()) == type.id;
  }
  return type_of(value)->id == type.id;
}

bool is_callable(Value value) {
  return value.is(Kind::kFunction) || value.is(Kind::kNative) || value.is(Kind::kMethod) ||
         value.is(Kind::kType);
}

Value unsupported_builtin(Vm&, const Args&) { unsupported("a builtin function"); }
Value unsupported_method(Vm&, const Args&) { unsupported("a method"); }
Value denied_builtin(Vm&, const Args&) { stop(Status::kDenied, "a builtin function"); }

Value builtin_callable(Vm& vm, const Args& args) {
  Value object = one_argument(vm, args, "callable");
  require_known(object);
  return Value::boolean(is_callable(object));
}

Value builtin_getattr(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "getattr");
  expect_count(vm, args, "getattr", 2, 3);
  Symbol name = attribute_name(vm, args[1]);
  Value found = find_attribute(vm, args[0], name);
  if (!found.is_unbound()) return found;
  if (args.count == 3) return args[2];
  raise_no_attribute(vm, args[0], *args[1].as<Str>());
}

Value builtin_hasattr(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "hasattr");
  expect_count(vm, args, "hasattr", 2, 2);
  if (args[1].is(Kind::kStr) && args[1].as<Str>()->view().substr(0, 2) == "__") {
    unsupported("hasattr of a special method");
  }
  Symbol name = attribute_name(vm, args[1]);
  return Value::boolean(!find_attribute(vm, args[0], name).is_unbound());
}

Value builtin_hash(Vm& vm, const Args& args) {
  Value object = one_argument(vm, args, "hash");
  if (hashed_by_address(vm, object)) unsupported("a hash that is an address");
  return Value::integer(hash_value(vm, object));
}

Value builtin_isinstance(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "isinstance");
  expect_count(vm, args, "isinstance", 2, 2);
  Value value = args[0];
  require_known(value);
  const char* complaint = "isinstance() arg 2 must be a type, a tuple of types, or a union";
  return Value::boolean(any_type(vm, args[1], complaint,
                                 [value](const Type& type) { return is_instance(value, type); }));
}

Value builtin_issubclass(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "issubclass");
  expect_count(vm, args, "issubclass", 2, 2);
  require_known(args[0]);
  const char* complaint = "issubclass() arg 2 must be a class, a tuple of classes, or a union";
  if (!args[0].is(Kind::kType)) {
    // CPython looks at the second argument first, if that is a tuple.
    if (args[1].is(Kind::kTuple) && args[1].as<Tuple>()->size == 0) return Value::boolean(false);
    vm.raise_type("issubclass() arg 1 must be a class");
  }
  const Type& type = *args[0].as<Type>();
  return Value::boolean(any_type(vm, args[1], complaint, [&type](const Type& ancestor) {
    return is_subclass(type, ancestor);
  }));
}

}  // namespace reft
