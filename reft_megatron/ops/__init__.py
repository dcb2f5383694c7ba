"""Fast paths beside their references: the Python face of the native code and of fused maths."""
