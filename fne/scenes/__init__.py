"""The embedded world's own encoders: the shipped pair and how others are drawn. (The world itself: fne.data.scenes.)"""
