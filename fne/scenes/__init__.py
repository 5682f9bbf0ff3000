"""The embedded world: coloured shapes whose captions are logical forms, so that truth is exact; its encoders."""
