"""For training loops of your own: the rules on plain tensors and ids, with their memory. Reads no files."""
