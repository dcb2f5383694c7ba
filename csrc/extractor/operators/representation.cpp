// repr() and str() of everything.
#include <charconv>

#include "builtins/builtins.hpp"
#include "containers/containers.hpp"
#include "numbers/integer.hpp"
#include "numbers/number_text.hpp"
#include "operators/operators.hpp"
#include "text/characters.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

constexpr char kHexDigits[] = "0123456789abcdef";
constexpr const char* kDoing = "while getting the repr of an object";

// A container whose repr is being written: inside itself it is "[...]".
struct Open {
  const Object* container;
  const Open* outer;
};

class Writer {
 public:
  explicit Writer(Vm& vm) : vm_(vm), out_(vm) {}

  void repr(Value a);
  void exception(const Exception& exception);
  Value finish() { return out_.finish(); }

 private:
  void integer(Value a);
  void text(const Str& text);
  void escape(char32_t code_point);
  void container(Value a);
  void contents(Value a);
  void items(const Value* at, std::uint32_t size);
  void dict(const Dict& dict);
  void set(const Set& set);
  void view(const DictView& view);
  void range(const Range& range);
  void slice(const Slice& slice);
  void type(const Type& type);
  void native(Value a);

  Vm& vm_;
  TextBuilder out_;
  const Open* open_ = nullptr;
};

void Writer::repr(Value a) {
  switch (a.kind) {
    case Kind::kNone: return out_.append("None");
    case Kind::kEllipsis: return out_.append("Ellipsis");
    case Kind::kNotImplemented: return out_.append("NotImplemented");
    case Kind::kBool: return out_.append(a.i != 0 ? "True" : "False");
    case Kind::kInt:
    case Kind::kBig: return integer(a);
    case Kind::kFloat: {
      char digits[32];
      return out_.append({digits, float_repr(a.f, digits)});
    }
    case Kind::kStr: return text(*a.as<Str>());
    case Kind::kTuple:
    case Kind::kList:
    case Kind::kDict:
    case Kind::kSet:
    case Kind::kDictView: return container(a);
    case Kind::kRange: return range(*a.as<Range>());
    case Kind::kSlice: return slice(*a.as<Slice>());
    case Kind::kException: return exception(*a.as<Exception>());
    case Kind::kType: return type(*a.as<Type>());
    case Kind::kNative: return native(a);
    case Kind::kForeign: unsupported("the repr of a foreign value");
    default: unsupported("a repr with an address");
  }
}

void Writer::integer(Value a) {
  if (a.is(Kind::kBig)) return out_.append(int_to_decimal(vm_, a).as<Str>()->view());
  char digits[24];
  char* end = std::to_chars(digits, digits + sizeof digits, a.i).ptr;
  out_.append({digits, static_cast<std::size_t>(end - digits)});
}

void Writer::text(const Str& text) {
  vm_.charge(text.bytes / 16);
  std::string_view rest = text.view();
  bool single = rest.find('\'') != rest.npos;
  char quote = single && rest.find('"') == rest.npos ? '"' : '\'';
  out_.append(quote);
  std::size_t plain = 0;  // bytes that go as they are
  auto flush = [&] {
    out_.append(rest.substr(0, plain));
    rest.remove_prefix(plain);
    plain = 0;
  };
  while (plain < rest.size()) {
    auto first = static_cast<unsigned char>(rest[plain]);
    std::uint32_t bytes = utf8_length(first);
    char32_t c = first < 0x80 ? first : decode_utf8(rest.data() + plain);
    bool escaped = c < 0x80 ? c < ' ' || c == 0x7F || c == '\\' || c == static_cast<char32_t>(quote)
                            : !is_printable(c);
    if (!escaped) {
      plain += bytes;
      continue;
    }
    flush();
    escape(c);
    rest.remove_prefix(bytes);
  }
  flush();
  out_.append(quote);
}

void Writer::escape(char32_t c) {
  switch (c) {
    case '\n': return out_.append("\\n");
    case '\t': return out_.append("\\t");
    case '\r': return out_.append("\\r");
    case '\\': return out_.append("\\\\");
    case '\'': return out_.append("\\'");
    default: break;
  }
  int digits = c < 0x100 ? 2 : c < 0x10000 ? 4 : 8;
  out_.append(digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U");
  while (--digits >= 0) out_.append(kHexDigits[(c >> (4 * digits)) & 15]);
}

std::string_view inside_itself(Kind kind) {
  switch (kind) {
    case Kind::kTuple: return "(...)";
    case Kind::kList: return "[...]";
    case Kind::kDict: return "{...}";
    case Kind::kSet: return "set(...)";
    default: return "...";
  }
}

void Writer::container(Value a) {
  Depth depth(vm_, kDoing);
  vm_.step();
  std::uint32_t level = 0;
  for (const Open* open = open_; open != nullptr; open = open->outer) {
    if (open->container == a.o) return out_.append(inside_itself(a.kind));
    ++level;
  }
  vm_.charge(level / 8);
  Open self{a.o, open_};
  open_ = &self;
  contents(a);
  open_ = self.outer;
}

void Writer::contents(Value a) {
  switch (a.kind) {
    case Kind::kTuple: {
      const Tuple& tuple = *a.as<Tuple>();
      out_.append('(');
      items(tuple.items, tuple.size);
      return out_.append(tuple.size == 1 ? ",)" : ")");
    }
    case Kind::kList:
      out_.append('[');
      items(a.as<List>()->items, a.as<List>()->size);
      return out_.append(']');
    case Kind::kDict: return dict(*a.as<Dict>());
    case Kind::kSet: return set(*a.as<Set>());
    default: return view(*a.as<DictView>());
  }
}

void Writer::items(const Value* at, std::uint32_t size) {
  for (std::uint32_t i = 0; i < size; ++i) {
    vm_.step();
    if (i != 0) out_.append(", ");
    repr(at[i]);
  }
}

void Writer::dict(const Dict& dict) {
  vm_.charge(dict.used / 16);  // gaps
  out_.append('{');
  std::uint32_t position = 0;
  bool first = true;
  for (DictEntry* entry; dict_next(dict, position, entry); first = false) {
    vm_.step();
    if (!first) out_.append(", ");
    repr(entry->key);
    out_.append(": ");
    repr(entry->value);
  }
  out_.append('}');
}

void Writer::set(const Set& set) {
  if (set.used == 0) return out_.append(set.frozen ? "frozenset()" : "set()");
  out_.append(set.frozen ? "frozenset({" : "{");
  std::uint32_t position = 0;
  bool first = true;
  for (Value item; set_next(vm_, set, position, item); first = false) {
    vm_.step();
    if (!first) out_.append(", ");
    repr(item);
  }
  out_.append(set.frozen ? "})" : "}");
}

void Writer::view(const DictView& view) {
  vm_.charge(view.dict->used / 16);
  out_.append(view.view == View::kKeys     ? "dict_keys(["
              : view.view == View::kValues ? "dict_values(["
                                           : "dict_items([");
  std::uint32_t position = 0;
  bool first = true;
  for (DictEntry* entry; dict_next(*view.dict, position, entry); first = false) {
    vm_.step();
    if (!first) out_.append(", ");
    if (view.view == View::kItems) out_.append('(');
    if (view.view != View::kValues) repr(entry->key);
    if (view.view == View::kItems) out_.append(", ");
    if (view.view != View::kKeys) repr(entry->value);
    if (view.view == View::kItems) out_.append(')');
  }
  out_.append("])");
}

void Writer::range(const Range& range) {
  out_.append("range(");
  integer(Value::integer(range.start));
  out_.append(", ");
  integer(Value::integer(range.stop));
  if (range.step != 1) {
    out_.append(", ");
    integer(Value::integer(range.step));
  }
  out_.append(')');
}

void Writer::slice(const Slice& slice) {
  Depth depth(vm_, kDoing);
  const Value parts[] = {slice.start, slice.stop, slice.step};
  out_.append("slice(");
  items(parts, 3);
  out_.append(')');
}

void Writer::exception(const Exception& exception) {
  Depth depth(vm_, kDoing);
  const Tuple& args = *exception.args;
  if (exception.type == Exc::kOther || is_subtype(exception.type, Exc::kBaseExceptionGroup) ||
      (is_subtype(exception.type, Exc::kOSError) && args.size > 1)) {
    unsupported("the repr of an exception of many arguments");
  }
  out_.append(exception_name(exception.type));
  out_.append('(');
  items(args.items, args.size);
  out_.append(')');
}

void Writer::type(const Type& type) {
  if (type.id == TypeId::kIterator || type.exc == Exc::kOther) unsupported("the repr of a type");
  out_.append("<class '");
  out_.append(type_name(type));
  out_.append("'>");
}

void Writer::native(Value a) {
  Symbol name = a.as<Native>()->name;
  if (!same(builtin(name), a) && !same(math_member(name), a)) unsupported("the repr of a method");
  out_.append("<built-in function ");
  out_.append(vm_.symbol_text(name));
  out_.append('>');
}

Value str_of_exception(Vm& vm, const Exception& exception) {
  Exc type = exception.type;
  const Tuple& args = *exception.args;
  // These make their text from several arguments.
  bool special = is_subtype(type, Exc::kOSError) || is_subtype(type, Exc::kSyntaxError);
  if ((special && args.size > 1) || is_subtype(type, Exc::kBaseExceptionGroup) ||
      is_subtype(type, Exc::kExceptionGroup) || type == Exc::kUnicodeDecodeError ||
      type == Exc::kUnicodeEncodeError || type == Exc::kUnicodeTranslateError) {
    unsupported("the text of an exception of many arguments");
  }
  if (args.size == 1) {
    return type == Exc::kKeyError ? repr(vm, args.items[0]) : str(vm, args.items[0]);
  }
  if (args.size == 0) return make_str(vm, is_subtype(type, Exc::kSyntaxError) ? "None" : "");
  return repr(vm, Value::object(exception.args));
}

}  // namespace

Value repr(Vm& vm, Value a) {
  Writer writer(vm);
  writer.repr(a);
  return writer.finish();
}

Value str(Vm& vm, Value a) {
  if (a.is(Kind::kStr)) return a;
  if (a.is(Kind::kInt) || a.is(Kind::kBig)) return int_to_decimal(vm, a);
  if (a.is(Kind::kException)) {
    Depth depth(vm, kDoing);
    return str_of_exception(vm, *a.as<Exception>());
  }
  return repr(vm, a);
}

}  // namespace reft
