"""MeViS: expressions about motion (v1), and motion reasoning and expressions without target (v2)."""
