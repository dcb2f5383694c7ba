// Gamma and log-gamma by Lanczos' approximation, step for step as CPython computes them: libm's own
// round differently.
#include <cmath>
#include <limits>
#include <numbers>

#include "builtins/math_natives.hpp"

namespace reft {
namespace {

constexpr double kPi = std::numbers::pi;
constexpr double kLogPi = 1.144729885849400174143427351353058711647;
constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

constexpr int kTerms = 13;
constexpr double kG = 6.024680040776729583740234375;
constexpr double kGMinusHalf = 5.524680040776729583740234375;
constexpr double kNumerator[kTerms] = {23531376880.410759688572007674451636754734846804940,
                                       42919803642.649098768957899047001988850926355848959,
                                       35711959237.355668049440185451547166705960488635843,
                                       17921034426.037209699919755754458931112671403265390,
                                       6039542586.3520280050642916443072979210699388420708,
                                       1439720407.3117216736632230727949123939715485786772,
                                       248874557.86205415651146038641322942321632125127801,
                                       31426415.585400194380614231628318205362874684987640,
                                       2876370.6289353724412254090516208496135991145378768,
                                       186056.26539522349504029498971604569928220784236328,
                                       8071.6720023658162106380029022722506138218516325024,
                                       210.82427775157934587250973392071336271166969580291,
                                       2.5066282746310002701649081771338373386264310793408};
// Of x (x + 1) ... (x + 11).
constexpr double kDenominator[kTerms] = {
    0.0,       39916800.0, 120543840.0, 150917976.0, 105258076.0, 45995730.0, 13339535.0,
    2637558.0, 357423.0,   32670.0,     1925.0,      66.0,        1.0};

// From 5 on as a rational function of 1 / x, which does not overflow.
double lanczos_sum(double x) {
  double numerator = 0;
  double denominator = 0;
  if (x < 5.0) {
    for (int i = kTerms - 1; i >= 0; --i) {
      numerator = numerator * x + kNumerator[i];
      denominator = denominator * x + kDenominator[i];
    }
  } else {
    for (int i = 0; i < kTerms; ++i) {
      numerator = numerator / x + kNumerator[i];
      denominator = denominator / x + kDenominator[i];
    }
  }
  return numerator / denominator;
}

// sin(pi x) of a finite x, exact where x is near an integer.
double sin_pi(double x) {
  double y = std::fmod(std::fabs(x), 2.0);
  double result;
  switch (static_cast<int>(std::round(2.0 * y))) {
    case 0: result = std::sin(kPi * y); break;
    case 1: result = std::cos(kPi * (y - 0.5)); break;
    case 2: result = std::sin(kPi * (1.0 - y)); break;
    case 3: result = -std::cos(kPi * (y - 1.5)); break;
    default: result = std::sin(kPi * (y - 2.0)); break;
  }
  return std::copysign(1.0, x) * result;
}

// value * base**exponent, or value / base**exponent; in two steps where the power would overflow.
double scale_by_power(double value, double base, double magnitude, bool up) {
  if (magnitude < 140.0) {
    double power = std::pow(base, magnitude - 0.5);
    return up ? value * power : value / power;
  }
  double root = std::pow(base, magnitude / 2.0 - 0.25);
  return up ? value * root * root : value / root / root;
}

// (n - 1)!, exact.
double factorial_below(int n) {
  double product = 1;
  for (int i = 2; i < n; ++i) product *= i;
  return product;
}

}  // namespace

double gamma_function(double x) {
  constexpr double kExactUpTo = 23;
  if (!std::isfinite(x)) return x == -kInfinity ? kNan : x;
  if (x == 0) return kNan;
  if (x == std::floor(x)) {
    if (x < 0) return kNan;
    if (x <= kExactUpTo) return factorial_below(static_cast<int>(x));
  }
  double magnitude = std::fabs(x);
  if (magnitude < 1e-20) return 1.0 / x;
  if (magnitude > 200.0) return x < 0 ? 0.0 / sin_pi(x) : kInfinity;

  // What the rounding of `base` loses is made good to first order.
  double base = magnitude + kGMinusHalf;
  double lost =
      magnitude > kGMinusHalf ? (base - magnitude) - kGMinusHalf : (base - kGMinusHalf) - magnitude;
  double correction = lost * kG / base;
  double result;
  if (x < 0) {
    result = -kPi / sin_pi(magnitude) / magnitude * std::exp(base) / lanczos_sum(magnitude);
    result -= correction * result;
  } else {
    result = lanczos_sum(magnitude) / std::exp(base);
    result += correction * result;
  }
  return scale_by_power(result, base, magnitude, x > 0);
}

double log_gamma_function(double x) {
  if (!std::isfinite(x)) return std::fabs(x);
  if (x == std::floor(x) && x <= 2.0) return x <= 0 ? kNan : 0.0;
  double magnitude = std::fabs(x);
  if (magnitude < 1e-20) return -std::log(magnitude);
  double result = std::log(lanczos_sum(magnitude)) - kG;
  result += (magnitude - 0.5) * (std::log(magnitude + kG - 0.5) - 1);
  if (x < 0) {
    result = kLogPi - std::log(std::fabs(sin_pi(magnitude))) - std::log(magnitude) - result;
  }
  return result;
}

}  // namespace reft
