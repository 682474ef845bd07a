"""Long-RVOS: minute-long videos, static, dynamic and hybrid expressions."""
