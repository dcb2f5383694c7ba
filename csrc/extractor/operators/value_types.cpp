// The type of a value, and the number it stands for.
#include "builtins/builtins.hpp"
#include "containers/iterators.hpp"
#include "numbers/integer.hpp"
#include "numbers/number_text.hpp"
#include "operators/operators.hpp"

namespace reft {
namespace {

// In the order of TypeId.
constexpr const char* kTypeNames[] = {"NoneType",
                                      "ellipsis",
                                      "NotImplementedType",
                                      "bool",
                                      "int",
                                      "float",
                                      "str",
                                      "tuple",
                                      "list",
                                      "dict",
                                      "set",
                                      "frozenset",
                                      "range",
                                      "slice",
                                      "function",
                                      "builtin_function_or_method",
                                      "method_descriptor",
                                      "generator",
                                      "iterator",
                                      "dict_keys",
                                      "dict_values",
                                      "dict_items",
                                      "type",
                                      "module",
                                      "object",
                                      "enumerate",
                                      "zip",
                                      "map",
                                      "filter",
                                      "reversed",
                                      "complex",
                                      "bytes",
                                      "bytearray",
                                      "memoryview",
                                      "property",
                                      "classmethod",
                                      "staticmethod",
                                      "super"};
static_assert(sizeof kTypeNames / sizeof *kTypeNames == static_cast<int>(TypeId::kException));

// A function that stands by itself, not one taken from a type.
bool is_function(Value native) {
  Symbol name = native.as<Native>()->name;
  return same(builtin(name), native) || same(math_member(name), native);
}

TypeId view_type(View view) {
  return view == View::kKeys     ? TypeId::kDictKeys
         : view == View::kValues ? TypeId::kDictValues
                                 : TypeId::kDictItems;
}

TypeId type_id(Value a) {
  switch (a.kind) {
    case Kind::kNone: return TypeId::kNoneType;
    case Kind::kEllipsis: return TypeId::kEllipsisType;
    case Kind::kNotImplemented: return TypeId::kNotImplementedType;
    case Kind::kBool: return TypeId::kBool;
    case Kind::kInt:
    case Kind::kBig: return TypeId::kInt;
    case Kind::kFloat: return TypeId::kFloat;
    case Kind::kStr: return TypeId::kStr;
    case Kind::kTuple: return TypeId::kTuple;
    case Kind::kList: return TypeId::kList;
    case Kind::kDict: return TypeId::kDict;
    case Kind::kSet: return a.as<Set>()->frozen ? TypeId::kFrozenset : TypeId::kSet;
    case Kind::kRange: return TypeId::kRange;
    case Kind::kSlice: return TypeId::kSlice;
    case Kind::kIterator: return iterator_type(*a.as<Iterator>());
    case Kind::kGenerator: return TypeId::kGenerator;
    case Kind::kDictView: return view_type(a.as<DictView>()->view);
    case Kind::kFunction: return TypeId::kFunction;
    case Kind::kNative: return is_function(a) ? TypeId::kBuiltin : TypeId::kMethod;
    case Kind::kMethod: return TypeId::kBuiltin;
    case Kind::kType: return TypeId::kType;
    case Kind::kException: return TypeId::kException;
    case Kind::kModule: return TypeId::kModule;
    case Kind::kUnbound:
    case Kind::kCell:
    case Kind::kForeign: break;
  }
  unsupported("the type of a foreign value");
}

}  // namespace

const char* type_name(const Type& type) {
  return type.id == TypeId::kException ? exception_name(type.exc)
                                       : kTypeNames[static_cast<int>(type.id)];
}

const char* type_name(Value a) {
  if (a.is(Kind::kIterator)) return a.as<Iterator>()->type_name;
  if (a.is(Kind::kException)) return exception_name(a.as<Exception>()->type);
  return kTypeNames[static_cast<int>(type_id(a))];
}

const Type* type_of(Value a) {
  if (a.is(Kind::kException)) return exception_type(a.as<Exception>()->type);
  TypeId id = type_id(a);
  if (id == TypeId::kIterator || id == TypeId::kMethod) unsupported("the type of such a value");
  return type_object(id);
}

bool to_float(Vm& vm, Value a, double& out) {
  switch (a.kind) {
    case Kind::kFloat: out = a.f; return true;
    case Kind::kBool:
    case Kind::kInt: out = static_cast<double>(a.i); return true;
    case Kind::kBig: return int_to_double_if_finite(a, out);
    case Kind::kStr:
      vm.charge(a.as<Str>()->bytes / 64);
      return parse_float(a.as<Str>()->view(), out);
    case Kind::kForeign: unsupported("a foreign result");
    default: return false;
  }
}

}  // namespace reft
