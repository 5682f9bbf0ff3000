"""What ``fne check`` promises of strategies and losses, each a list of checks that run on any of them."""
