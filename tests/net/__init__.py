"""The net under a change that moves code: what the house computed before it, kept in files and compared."""
