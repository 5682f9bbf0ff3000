"""What a selection costs: one small file per loss."""
