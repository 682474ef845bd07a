"""MotionShapes: generated clips of moving shapes with exact masks."""
