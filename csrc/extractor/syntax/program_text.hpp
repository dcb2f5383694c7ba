// Which part of a completion is the program.
#pragma once

#include <string_view>

namespace reft {

// The text of the first ``` block that defines `solution`, else of the first block, else all.
std::string_view strip_fences(std::string_view text);

// All that precedes `def solution`, and that function: it ends before the first line that starts in
// column 0 outside strings and brackets, comments apart. A `def solution` directly below is a
// second definition and stays. Empty if `def solution` is nowhere; all if no line begins with it.
std::string_view cut_program(std::string_view text);

// Up to the first blank line, as the reference does (python_engine.py:43-61); empty if no line of
// it begins with `def solution`.
std::string_view cut_at_blank_line(std::string_view text);

}  // namespace reft
