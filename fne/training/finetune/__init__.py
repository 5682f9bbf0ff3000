"""Whole encoders trained end to end, from pixels and tokens; the engine is that of fne.training."""
