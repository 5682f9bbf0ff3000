"""What a selection costs: losses over the selected negatives, one small file each."""
