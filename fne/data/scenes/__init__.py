"""The embedded world: pictures of coloured shapes; captions are logical forms, so truth is exact."""
