// What the host twin says of itself.
#include "arithmetic/arguments.hpp"

int reft_abi(void) { return REFT_KERNELS_ABI; }

const char* reft_target(void) { return "host"; }

const char* reft_message(int status) { return reft::own_message(status); }

int reft_probe(int) { return REFT_OK; }
