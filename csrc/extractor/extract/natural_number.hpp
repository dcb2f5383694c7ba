// Numbers inside running text.
#pragma once

#include <string_view>

namespace reft {

// The first or last number in `text`: sign, thousands commas, decimals, exponent, a fraction a/b;
// currency and percent signs around it mean nothing. False if there is none.
bool first_number(std::string_view text, double& out);
bool last_number(std::string_view text, double& out);

}  // namespace reft
