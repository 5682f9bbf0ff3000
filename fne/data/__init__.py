"""Data of any form read into one manifest, its splits and its ground truth; downloads. Imports no torch."""
