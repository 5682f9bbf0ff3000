"""The embedded world: small pictures of coloured shapes whose captions are logical forms, so that truth is exact."""
