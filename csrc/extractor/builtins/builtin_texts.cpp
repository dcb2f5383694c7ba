// Builtin functions of texts: ascii, chr, format, ord, print, repr.
#include "builtins/builtin_functions.hpp"
#include "numbers/number_text.hpp"
#include "operators/operators.hpp"
#include "text/text.hpp"

namespace reft {
namespace {

// \xe9, \u20ac or \U0001f600.
void append_escaped(TextBuilder& text, char32_t c) {
  int digits = c <= 0xFF ? 2 : c <= 0xFFFF ? 4 : 8;
  text.append('\\');
  text.append(digits == 2 ? 'x' : digits == 4 ? 'u' : 'U');
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
    text.append("0123456789abcdef"[(c >> shift) & 15]);
  }
}

// Printing a lone surrogate is an error of the encoding.
bool has_surrogate(std::string_view text) {
  for (std::size_t i = 0; i + 1 < text.size(); ++i) {
    if (static_cast<unsigned char>(text[i]) == 0xED &&
        static_cast<unsigned char>(text[i + 1]) >= 0xA0) {
      return true;
    }
  }
  return false;
}

// Counts what is printed; keeps it only if somebody wants it.
void print_text(Vm& vm, const Str& text) {
  if (text.bytes > vm.limits.max_output_bytes - vm.output_bytes) {
    stop(Status::kMemoryLimit, "output");
  }
  vm.charge(text.bytes / 64);
  if (!text.ascii() && has_surrogate(text.view())) unsupported("printing a lone surrogate");
  vm.output_bytes += text.bytes;
  if (!vm.keep_output || text.bytes == 0) return;
  Value both = vm.output == nullptr ? make_str(vm, text.view()) : concat(vm, *vm.output, text);
  vm.output = both.as<Str>();
}

// The `sep` or `end` of print.
const Str& separator(Vm& vm, const Value* given, const char* name, const char* otherwise) {
  if (given == nullptr || given->is_none()) return *borrow_str(vm, otherwise).as<Str>();
  require_known(*given);
  if (!given->is(Kind::kStr)) {
    vm.raise_type("%s must be None or a string, not %s", name, type_name(*given));
  }
  return *given->as<Str>();
}

}  // namespace

Value builtin_ascii(Vm& vm, const Args& args) {
  Value text = repr(vm, one_argument(vm, args, "ascii"));
  const Str& printable = *text.as<Str>();
  if (printable.ascii()) return text;
  vm.charge(printable.bytes);
  TextBuilder escaped(vm);
  for (std::uint32_t i = 0; i < printable.bytes;) {
    auto first = static_cast<unsigned char>(printable.data[i]);
    if (first < 0x80) {
      escaped.append(static_cast<char>(first));
    } else {
      append_escaped(escaped, decode_utf8(printable.data + i));
    }
    i += utf8_length(first);
  }
  return escaped.finish();
}

Value builtin_chr(Vm& vm, const Args& args) {
  Value number = one_argument(vm, args, "chr");
  if (number.is(Kind::kBig)) {
    vm.raise(Exc::kOverflowError, "Python int too large to convert to C int");
  }
  std::int64_t code = index_argument(vm, number);
  if (code != static_cast<std::int32_t>(code)) {
    vm.raise(Exc::kOverflowError, "Python int too large to convert to C int");
  }
  if (code < 0 || code > 0x10FFFF) {
    vm.raise(Exc::kValueError, "chr() arg not in range(0x110000)");
  }
  return make_str(vm, static_cast<char32_t>(code));
}

Value builtin_format(Vm& vm, const Args& args) {
  expect_no_keywords(vm, args, "format");
  expect_count(vm, args, "format", 1, 2);
  require_known(args[0]);
  if (args.count == 1) return format_value(vm, args[0], {});
  require_known(args[1]);
  if (!args[1].is(Kind::kStr)) {
    vm.raise_type("format() argument 2 must be str, not %s",
                  args[1].is_none() ? "None" : type_name(args[1]));
  }
  return format_value(vm, args[0], args[1].as<Str>()->view());
}

Value builtin_ord(Vm& vm, const Args& args) {
  Value text = one_argument(vm, args, "ord");
  require_known(text);
  if (!text.is(Kind::kStr)) {
    vm.raise_type("ord() expected string of length 1, but %s found", type_name(text));
  }
  const Str& character = *text.as<Str>();
  if (character.length != 1) {
    vm.raise_type("ord() expected a character, but string of length %u found", character.length);
  }
  return Value::integer(decode_utf8(character.data));
}

Value builtin_print(Vm& vm, const Args& args) {
  expect_keywords(vm, args, "print", {N_sep, N_end, N_file, N_flush});
  const Value* file = args.keyword(N_file);
  if (file != nullptr && !file->is_none()) unsupported("print to a file");
  const Str& sep = separator(vm, args.keyword(N_sep), "sep", " ");
  const Str& end = separator(vm, args.keyword(N_end), "end", "\n");
  for (std::uint32_t i = 0; i < args.count; ++i) {
    if (i != 0) print_text(vm, sep);
    Value text = args[i].is(Kind::kStr) ? args[i] : str(vm, args[i]);
    print_text(vm, *text.as<Str>());
  }
  print_text(vm, end);
  return Value::none();
}

Value builtin_repr(Vm& vm, const Args& args) { return repr(vm, one_argument(vm, args, "repr")); }

}  // namespace reft
