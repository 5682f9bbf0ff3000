"""Encoders behind one seam, the images they read, and the store of their features. (Those of scenes: fne.scenes.)"""
