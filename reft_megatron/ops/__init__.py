"""Fast paths beside their references: the Python face of fused maths."""
