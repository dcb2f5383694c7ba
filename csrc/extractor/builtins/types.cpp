// The type objects, and how the exception types descend from each other.
#include "builtins/builtins.hpp"

namespace reft {
namespace {

constexpr Symbol N_Other = N_Exception;  // Exc::kOther stands for exceptions of worker programs

constexpr int kTypeCount = static_cast<int>(TypeId::kException) + 1;

struct TypeNames {
  Symbol names[kTypeCount] = {};

  constexpr TypeNames() {
    set(TypeId::kNoneType, N_NoneType);
    set(TypeId::kEllipsisType, N_ellipsis);
    set(TypeId::kNotImplementedType, N_NotImplementedType);
    set(TypeId::kBool, N_bool);
    set(TypeId::kInt, N_int);
    set(TypeId::kFloat, N_float);
    set(TypeId::kStr, N_str);
    set(TypeId::kTuple, N_tuple);
    set(TypeId::kList, N_list);
    set(TypeId::kDict, N_dict);
    set(TypeId::kSet, N_set);
    set(TypeId::kFrozenset, N_frozenset);
    set(TypeId::kRange, N_range);
    set(TypeId::kSlice, N_slice);
    set(TypeId::kFunction, N_function);
    set(TypeId::kBuiltin, N_builtin_function_or_method);
    set(TypeId::kMethod, N_method);
    set(TypeId::kGenerator, N_generator);
    set(TypeId::kIterator, N_iterator);
    set(TypeId::kDictKeys, N_dict_keys);
    set(TypeId::kDictValues, N_dict_values);
    set(TypeId::kDictItems, N_dict_items);
    set(TypeId::kType, N_type);
    set(TypeId::kModule, N_module);
    set(TypeId::kObject, N_object);
    set(TypeId::kEnumerate, N_enumerate);
    set(TypeId::kZip, N_zip);
    set(TypeId::kMap, N_map);
    set(TypeId::kFilter, N_filter);
    set(TypeId::kReversed, N_reversed);
    set(TypeId::kComplex, N_complex);
    set(TypeId::kBytes, N_bytes);
    set(TypeId::kBytearray, N_bytearray);
    set(TypeId::kMemoryview, N_memoryview);
    set(TypeId::kProperty, N_property);
    set(TypeId::kClassmethod, N_classmethod);
    set(TypeId::kStaticmethod, N_staticmethod);
    set(TypeId::kSuper, N_super);
    set(TypeId::kException, N_BaseException);
  }
  constexpr void set(TypeId id, Symbol name) { names[static_cast<int>(id)] = name; }
};

struct Types {
  Type types[kTypeCount] = {};

  constexpr Types() {
    TypeNames table;
    for (int id = 0; id < kTypeCount; ++id) {
      types[id].kind = Kind::kType;
      types[id].id = static_cast<TypeId>(id);
      types[id].exc = Exc::kNone;
      types[id].name = table.names[id];
    }
  }
};

constexpr Types kTypes;

constexpr Type kExceptionTypes[] = {
    {{Kind::kType}, TypeId::kException, Exc::kNone, N_BaseException},
#define EXC(name, parent) {{Kind::kType}, TypeId::kException, Exc::k##name, N_##name},
#include "base/exceptions.inc"
#undef EXC
};

constexpr Exc kParents[] = {
    Exc::kNone,
#define EXC(name, parent) Exc::k##parent,
#include "base/exceptions.inc"
#undef EXC
};

constexpr const char* kExceptionNames[] = {
    "",
#define EXC(name, parent) #name,
#include "base/exceptions.inc"
#undef EXC
};

}  // namespace

const Type* type_object(TypeId id) { return &kTypes.types[static_cast<int>(id)]; }

const Type* exception_type(Exc exc) { return &kExceptionTypes[static_cast<int>(exc)]; }

bool is_subtype(Exc exc, Exc ancestor) {
  // The one type with two parents.
  if (exc == Exc::kExceptionGroup && ancestor == Exc::kBaseExceptionGroup) return true;
  while (exc != Exc::kNone) {
    if (exc == ancestor) return true;
    exc = kParents[static_cast<int>(exc)];
  }
  return false;
}

const char* exception_name(Exc exc) { return kExceptionNames[static_cast<int>(exc)]; }

}  // namespace reft
