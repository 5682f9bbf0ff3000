"""The rooms behind ``fne.config``: YAML files, the table of fields, variants, studies, merging."""
