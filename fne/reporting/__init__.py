"""The room where results become tables, figures and one page; nothing here imports torch."""
