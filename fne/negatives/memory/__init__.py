"""Where candidates beyond the batch come from: one small file per kind of ``memory.kind``."""
