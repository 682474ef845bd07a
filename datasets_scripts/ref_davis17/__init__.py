"""Ref-DAVIS17: four expressions per object of DAVIS 2017."""
